"""Timing of repeated work in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 2


@dataclass(frozen=True)
class Measured:
    """Seconds of a cell."""

    first: float
    """Seconds of the first round, in which functions are traced and kernels are chosen."""
    pipeline: list[float]
    """Seconds of each later round."""
    bare: list[float]
    """Seconds of each later round of the bare loop; empty if it was not measured."""
    images: int
    """Number of images in a round."""
    macs: float = 0
    """Multiply-adds for each image."""
    waiting: float | None = None
    """Fraction of the steps' time in which they waited for their batches, 0 to 1; None if it was not measured."""


def rounds(work: Callable[[], object]) -> tuple[float, list[float]]:
    """Call a function several times, and return the seconds of the first and of the later calls."""
    times = []
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times[0], times[1:]
