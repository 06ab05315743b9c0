"""A part of this machine for each of the jobs that run on it at the same time."""

import json
import logging
import os
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError

log = logging.getLogger(__name__)

TF_CONFIG_EXAMPLE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, on each machine with its own index'

_taken: list[FileLock] = []
_cores_before: list[int] = []


def threads(configured: int | None) -> int:
    """Threads for TensorFlow: as configured, else as many as there would be cores without sharing; 0: TensorFlow's own choice.

    The number of threads decides a result's last digits, so that a job has the same one whether or not others run beside it; it is the cores
    that are shared.
    """
    return configured or (_cores_before[0] if _cores_before else 0)


def take_share(workers: int) -> None:
    """Keep this process, for as long as it lives, to one of `workers` equal parts of its cores and GPUs.

    To be called before TensorFlow is imported; a second time it changes nothing. The parts of one sweep's workers, children of one process, are disjoint
    as far as there are enough.
    """
    if workers < 2 or _taken:
        return
    for number in range(workers):
        lock = FileLock(Path(tempfile.gettempdir()) / f"pipeline-{os.getuid()}-{os.getppid()}-{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _taken.append(lock)
        _keep_to(number, workers)
        return


def _keep_to(number: int, workers: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        _cores_before.append(len(cores))
        os.sched_setaffinity(0, part(cores, number, workers))
    gpus = _gpus()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(part(gpus, number, workers))
    log.info("worker %d of %d: cores %s, GPUs %s", number + 1, workers, *_told(gpus))


def part(items: list, number: int, workers: int) -> list:
    """What the worker `number`, from 0 on, gets of `items`: an equal part, or one that it shares where there are fewer than workers."""
    return items[number::workers] or [items[number % len(items)]]


def _gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES takes for each GPU that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return [str(number) for number, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]


def _told(gpus: list[str]) -> tuple[str, str]:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ["all"]
    return ",".join(map(str, cores)), os.environ["CUDA_VISIBLE_DEVICES"] if gpus else "none"


def worker_index() -> int:
    """This process's number among the workers; 0, the chief's, also where there are no others.

    Raises:
        PipelineError: TF_CONFIG is not what TensorFlow takes.
    """
    text = os.environ.get("TF_CONFIG")
    try:
        task = json.loads(text)["task"] if text else {"index": 0}
        return int(task["index"]) if task.get("type", "worker") == "worker" else 0
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"TF_CONFIG: {text!r} is not allowed ({error}); it takes {TF_CONFIG_EXAMPLE}") from error
