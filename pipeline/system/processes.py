"""Processes: their identities, the environment variables through which they communicate, and their interruption.

Ctrl-C and SIGTERM both stop the work with all clean-up, and neither interrupts a database transaction.
"""

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from pipeline.system.errors import PipelineError

SWEEP = "PIPELINE_SWEEP"
"""Environment variable with the name of a job's sweep: the overrides on its command line."""
TRIAL = "PIPELINE_TRIAL"
"""Environment variable with a job's Optuna trial as JSON; Hydra passes it to other processes and machines."""
JOB = "PIPELINE_JOB"
"""Environment variable with the number, settings and remaining work of a job in its sweep, as JSON."""
PARENT = "PIPELINE_PARENT"
"""Environment variable with the id of the MLflow run in which the run of a job is nested."""
TF_CONFIG_EXAMPLE = (
    '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, '
    "on each machine with its own index"
)
"""Example of a value of TF_CONFIG, for error messages."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_Handler = Callable[[int, FrameType | None], None]


def own() -> str:
    """Return a unique identity of this process: machine, boot id, PID namespace, PID and start time."""
    return "/".join((*_place(), str(os.getpid()), _started(os.getpid())))


def machine() -> str:
    """Return the name of this machine, as in `own`."""
    return _place()[0]


def is_dead(process: str) -> bool:
    """Return whether the process with an identity from `own` has certainly ended; False if this is unknown."""
    *place, number, started = process.split("/")
    here, boot, namespace = _place()
    # Another boot id means that this machine has been restarted since.
    return place[:1] == [here] and (place[1] != boot or (place[2] == namespace and _started(int(number)) != started))


def is_alive(process: str) -> bool:
    """Return whether the process with an identity from `own` is certainly running; False if this is unknown."""
    *place, number, started = process.split("/")
    return place == list(_place()) and _started(int(number)) == started


def worker_index() -> int:
    """Return the index of this process in a distributed training: 0 for the chief, or without distributed training.

    Raises:
        PipelineError: TF_CONFIG is not in TensorFlow's format.
    """
    text = os.environ.get("TF_CONFIG")
    try:
        task = json.loads(text)["task"] if text else {"index": 0}
        return int(task["index"]) if task.get("type", "worker") == "worker" else 0
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"TF_CONFIG: invalid value {text!r} ({error}); expected {TF_CONFIG_EXAMPLE}") from error


def _started(number: int) -> str:
    """Return the start time of a process, or an empty string if it has ended.

    It is in clock ticks since boot if possible, since clock changes do not affect these.
    """
    if stat := _read(f"/proc/{number}/stat"):
        # The process name before the last bracket may itself contain blanks and brackets.
        state, *fields = stat.rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    try:
        return f"{psutil.Process(number).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""


def _place() -> tuple[str, str, str]:
    name = f"{socket.gethostname()}-{_read('/etc/machine-id')[:8]}"
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return name, _read("/proc/sys/kernel/random/boot_id")[:8] or str(int(psutil.boot_time())), namespace


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def install_handlers(handler: _Handler = _interrupt) -> None:
    """Handle SIGTERM like Ctrl-C, so that runs are closed and no partial folders remain in both cases."""
    for number in _SIGNALS:
        signal.signal(number, handler)


@contextmanager
def handlers_installed(handler: _Handler = _interrupt) -> Iterator[None]:
    """Install the handlers within a block, and restore the previous ones afterwards."""
    # Python allows the installation of handlers only in the main thread.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        install_handlers(handler)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def interrupted() -> bool:
    """Return whether the process was interrupted, even if a library has replaced the `KeyboardInterrupt`."""
    return bool(_received)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer an interruption to the end of a block; a second interruption is raised immediately.

    An interrupted transaction would leave the database locked, so that the process could not record the run's status.
    """
    deferred: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:
        if deferred:
            _interrupt(number, frame)
        deferred.append(number)

    with handlers_installed(defer):
        yield
    if deferred:
        _interrupt(deferred[0], None)
