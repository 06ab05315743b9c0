"""Cores and GPUs: a share of this machine for each job that runs on it, and work on all cores."""

import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

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


Item = TypeVar("Item")


Result = TypeVar("Result")


def on_all_cores(function, items: Iterable[Item], ahead: int = 256) -> Iterator[Result]:
    """`function` of each item, in order, on as many threads as cores; never more than `ahead` items under way.

    Threads suffice where the work releases the interpreter's lock, as Pillow's decoding and resizing do.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        under_way = deque(pool.submit(function, item) for item in islice(left, ahead))
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(pool.submit(function, item) for item in islice(left, 1))
    finally:
        # Whoever stops listening, or is interrupted, does not wait for what has not begun.
        pool.shutdown(cancel_futures=True)
