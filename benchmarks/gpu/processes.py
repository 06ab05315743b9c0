"""Measurement of cells in processes of their own, within a time limit."""

import itertools
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import IO

from benchmarks.gpu.cells import Cell
from pipeline.storage.files import Json
from pipeline.system.paths import CODE

# Seconds for each cell.
_CELL = 60.0
OVER = "not measured: the time is over"


class Clock:
    """Time limit of the whole measurement."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())


class _NoResultError(Exception):
    """Error raised if a process ends, or takes too long."""


def measure_cells(cells: Sequence[Cell], environment: Mapping[str, str], clock: Clock) -> tuple[Json, list[Json]]:
    """Measure cells in as few processes as their order allows.

    Determinism can't be switched off within a process, so that cells without it have their own.

    Args:
        cells: Cells to measure.
        environment: Environment variables of the processes.
        clock: Time limit; cells that it cuts off, or leaves no time for, have an error.

    Returns:
        Environment of the measurement, and the figures of each cell, or its error.
    """
    facts: Json = {}
    results: list[Json] = []
    for _, alike in itertools.groupby(cells, key=lambda cell: cell.deterministic):
        left = list(alike)
        while left and clock.left():
            measured = _one_process(left, environment, clock, facts)
            results += measured
            left = left[len(measured) :]
        results += [{"error": OVER}] * len(left)
    return facts, results


def _one_process(cells: Sequence[Cell], environment: Mapping[str, str], clock: Clock, facts: Json) -> list[Json]:
    """Measure cells until all are done, or one ends the process or takes too long, whose result is an error.

    If the process does not start, all results are errors.
    """
    results: list[Json] = []
    with tempfile.TemporaryFile("w+") as questions, tempfile.TemporaryFile("w+") as errors:
        json.dump([asdict(cell) for cell in cells], questions)
        questions.seek(0)
        command = [sys.executable, "-m", "benchmarks.gpu.worker"]
        with subprocess.Popen(
            command, cwd=CODE, env=environment, stdin=questions, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            lines = _lines(process)
            try:
                facts |= _next(lines, clock.left())["facts"]
                for _ in cells:
                    results.append(_next(lines, min(_CELL, clock.left())))
            except _NoResultError as error:
                failed = {"error": f"{error}{_end_of(process, errors)}" if clock.left() else OVER}
                return [*results, failed] if facts else [failed] * len(cells)
            finally:
                process.kill()
    return results


def _lines(process: subprocess.Popen) -> "queue.Queue[str]":
    """Return the lines that a process writes, with an empty one at its end, as they come."""
    lines: queue.Queue[str] = queue.Queue()

    def read(output: IO[str]) -> None:
        for line in output:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, args=[process.stdout], daemon=True).start()
    return lines


def _next(lines: "queue.Queue[str]", seconds: float) -> Json:
    try:
        line = lines.get(timeout=seconds)
    except queue.Empty:
        raise _NoResultError(f"no result within {seconds:.0f} s") from None
    if not line:
        raise _NoResultError("the process has ended")
    return json.loads(line)


def _end_of(process: subprocess.Popen, errors: IO[str]) -> str:
    """Return the status and the last message of a process that has ended by itself, as text."""
    try:
        status = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return ""
    errors.seek(0)
    last = (errors.read().strip().splitlines() or [""])[-1]
    return f" with status {status}: {last[:150]}"
