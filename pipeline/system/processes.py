"""Processes: their identities, the environment variables by which they communicate, and their interruption.

Ctrl-C and SIGTERM both end the work in order, and neither interrupts a transaction.
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

TAG = "process"
"""Tag of a run in MLflow with the identity of its process."""
SWEEP = "PIPELINE_SWEEP"
"""Variable with the name of the sweep that a job belongs to: its command line."""
TRIAL = "PIPELINE_TRIAL"
"""Variable with a job's trial as JSON (see `pipeline.jobs.stage`); Hydra passes it to other processes and machines."""
TF_CONFIG_EXAMPLE = (
    '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, '
    "on each machine with its own index"
)
"""A value of TF_CONFIG, for error messages."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_Handler = Callable[[int, FrameType | None], None]


def own() -> str:
    """Return a unique identity of this process: machine, boot, process namespace, number and start."""
    return "/".join((*_place(), str(os.getpid()), _started(os.getpid())))


def is_dead(process: str) -> bool:
    """Return whether a process, named as by `own`, has surely ended; False where this can't be seen from here."""
    *place, number, started = process.split("/")
    machine, boot, namespace = _place()
    # With another boot, this machine has been restarted since.
    return place[:1] == [machine] and (place[1] != boot or (place[2] == namespace and _started(int(number)) != started))


def is_alive(process: str) -> bool:
    """Return whether a process is surely running; False where this can't be seen from here."""
    *place, number, started = process.split("/")
    return place == list(_place()) and _started(int(number)) == started


def worker_index() -> int:
    """Return this process's number among the workers of a training: 0 for the chief, and where there are no others.

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
    """Return the start of a process in ticks since boot, which clock changes do not affect; empty if it has ended."""
    if stat := _read(f"/proc/{number}/stat"):
        # The name in front may contain blanks and brackets.
        state, *fields = stat.rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    try:
        return f"{psutil.Process(number).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""


def _place() -> tuple[str, str, str]:
    machine = f"{socket.gethostname()}-{_read('/etc/machine-id')[:8]}"
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return machine, _read("/proc/sys/kernel/random/boot_id")[:8] or str(int(psutil.boot_time())), namespace


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def install_handlers(handler: _Handler = _interrupt) -> None:
    """Make SIGTERM do what Ctrl-C does, so that a supervisor also leaves closed runs and no partial folders."""
    for number in _SIGNALS:
        signal.signal(number, handler)


@contextmanager
def handlers_installed(handler: _Handler = _interrupt) -> Iterator[None]:
    """Install the handlers within a block, in a process that belongs to others, such as a launcher's worker."""
    # Python calls handlers in the main thread, and installs them nowhere else.
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
    """Return whether the process was interrupted; libraries may turn a `KeyboardInterrupt` into errors of their own."""
    return bool(_received)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer an interruption to the end of a block; a second one is raised at once.

    A database whose transaction is cut off stays locked, and the same process could not record how the run ended.
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
