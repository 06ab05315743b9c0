"""Cores and GPUs of this machine: their division between parallel jobs, and parallel work on all cores."""

import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from pipeline.system.gpu import gpu_names

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Lock of the part that this process uses, and the number of cores before the process was restricted to it.
_share_locks: list[FileLock] = []
_all_cores: list[int] = []


def threads(configured: int | None) -> int:
    """Return the number of threads for TensorFlow: the configured number, or that of all cores; 0 means its default.

    The number of threads affects the last digits of results. So a job always uses the same number of threads, even if
    parallel jobs leave it fewer cores.
    """
    return configured or (_all_cores[0] if _all_cores else 0)


def take_share(workers: int) -> None:
    """Restrict this process to one of `workers` equal parts of its cores and GPUs, until it ends.

    Call it before TensorFlow is imported; a second call has no effect. The parts of processes with the same parent,
    such as the workers of a sweep, are disjoint if there are enough cores.
    """
    if workers < 2 or _share_locks:
        return
    for number in range(workers):
        lock = FileLock(Path(tempfile.gettempdir()) / f"pipeline-{os.getuid()}-{os.getppid()}-{number}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            _share_locks.append(lock)
            _restrict_to(number, workers)
            return


def _restrict_to(number: int, workers: int) -> None:
    cores, gpus = "all", "none"
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        _all_cores.append(len(available))
        os.sched_setaffinity(0, part(available, number, workers))
        cores = ",".join(map(str, part(available, number, workers)))
    if names := gpu_names(os.environ):
        gpus = os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(part(names, number, workers))
    log.info("worker %d of %d: cores %s, GPUs %s", number + 1, workers, cores, gpus)


def part(items: list[Item], number: int, workers: int) -> list[Item]:
    """Return the items of worker `number` (from 0): an equal part, or one shared item if there are too few items."""
    return items[number::workers] or [items[number % len(items)]]


def on_all_cores(function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 256) -> Iterator[Result]:
    """Yield the results of `function` for all items, in order, computed by one thread per core.

    Threads run in parallel if the function releases the global interpreter lock, as Pillow's decoding and resizing do.

    Args:
        function: Function called once per item.
        items: Items, read only as far as needed.
        ahead: Largest number of items in progress.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        in_progress = deque(pool.submit(function, item) for item in islice(left, ahead))
        while in_progress:
            yield in_progress.popleft().result()
            in_progress.extend(pool.submit(function, item) for item in islice(left, 1))
    finally:
        # A caller that stops early, or is interrupted, does not wait for items that have not been started.
        pool.shutdown(cancel_futures=True)
