"""Cores and GPUs: equal parts of this machine for jobs that run beside each other, and work on all cores."""

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

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# The lock of this process's part, and the number of cores before it was restricted to the part.
_share_locks: list[FileLock] = []
_all_cores: list[int] = []


def threads(configured: int | None) -> int:
    """Return the number of threads for TensorFlow: as configured, or as many as cores; 0: TensorFlow's own choice.

    The number of threads decides a result's last digits, so a job uses the same number whether or not others run beside
    it. Only cores are shared out.
    """
    return configured or (_all_cores[0] if _all_cores else 0)


def take_share(workers: int) -> None:
    """Restrict this process to one of `workers` equal parts of its cores and GPUs, for as long as it lives.

    Call it before TensorFlow is imported; a second call changes nothing. The parts of one sweep's workers, children of
    one process, are disjoint if there are enough cores.
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
    if names := _gpus():
        gpus = os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(part(names, number, workers))
    log.info("worker %d of %d: cores %s, GPUs %s", number + 1, workers, cores, gpus)


def part(items: list[Item], number: int, workers: int) -> list[Item]:
    """Return the items of worker `number` (from 0): an equal part, or one shared item if there are too few."""
    return items[number::workers] or [items[number % len(items)]]


def _gpus() -> list[str]:
    """Return the name in CUDA_VISIBLE_DEVICES of each GPU that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return [str(number) for number, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]


def on_all_cores(function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 256) -> Iterator[Result]:
    """Yield `function` of each item, in order, computed by as many threads as cores.

    Threads suffice where the work releases the interpreter's lock, as Pillow's decoding and resizing do.

    Args:
        function: called once per item.
        items: read only as far as needed.
        ahead: largest number of items in progress.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        in_progress = deque(pool.submit(function, item) for item in islice(left, ahead))
        while in_progress:
            yield in_progress.popleft().result()
            in_progress.extend(pool.submit(function, item) for item in islice(left, 1))
    finally:
        # A caller that stops early, or is interrupted, does not wait for items that have not begun.
        pool.shutdown(cancel_futures=True)
