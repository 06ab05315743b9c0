"""Answers as rows: CSV and JSON lines as they come, or a table in the terminal."""

import csv
import json
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.deployment.prediction.predictions import Prediction

Write = Callable[[Iterable[Prediction]], None]
FORMATS = ("csv", "jsonl", "table")
# Characters of a table that no terminal shows.
_WIDTH = 160


def writer(kind: str, stream: TextIO, classes: list[str], top: int) -> tuple[Write, Callable[[], None]]:
    """What writes answers to `stream` as they come, and what ends it.

    Args:
        kind: of `FORMATS`.
        stream: to write to.
        classes: in the order of the probabilities.
        top: how many classes a row tells, the most probable ones.
    """
    top = min(top, len(classes))
    columns = ["path", "class", "probability", "error", "calibrated"]
    columns += [f"{name}_{place}" for place in range(2, top + 1) for name in ("class", "probability")]
    if kind == "table":
        return _table(stream, classes, columns, top)
    if kind == "csv":
        lines = csv.DictWriter(_UnixLines(stream), columns, restval="")
        lines.writeheader()

        def write(answers: Iterable[Prediction]) -> None:
            lines.writerows(_flat(each, classes, top) for each in answers)
            stream.flush()

        return write, lambda: None

    def write_json(answers: Iterable[Prediction]) -> None:
        stream.writelines(f"{json.dumps(_nested(each, classes, top), ensure_ascii=False)}\n" for each in answers)
        stream.flush()

    return write_json, lambda: None


class _UnixLines:
    """Ends the lines of csv's own dialect in a line feed. Told to end them so itself, csv leaves a carriage return in a path unquoted."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + "\n")


def guesses(answer: Prediction, classes: list[str], top: int) -> list[tuple[str, float]]:
    """The `top` most probable classes with their probabilities, rounded to six digits."""
    order = np.argsort(-answer.probabilities, kind="stable")[:top]
    return [(classes[place], round(float(answer.probabilities[place]), 6)) for place in order]


def _calibrated(answer: Prediction) -> float | None:
    """The calibrated probability of the class that is ahead."""
    return None if answer.calibrated is None else round(float(answer.calibrated.max()), 6)


def _flat(answer: Prediction, classes: list[str], top: int) -> dict[str, Any]:
    row: dict[str, Any] = {"path": answer.path, "error": answer.error}
    if answer.probabilities is None:
        return row
    row["calibrated"] = _calibrated(answer)
    for place, (name, probability) in enumerate(guesses(answer, classes, top), 1):
        suffix = f"_{place}" if place > 1 else ""
        row |= {f"class{suffix}": name, f"probability{suffix}": probability}
    return row


def _nested(answer: Prediction, classes: list[str], top: int) -> dict[str, Any]:
    if answer.probabilities is None:
        return {"path": answer.path, "class": None, "probability": None, "error": answer.error}
    told = guesses(answer, classes, top)
    return {
        "path": answer.path, "class": told[0][0], "probability": told[0][1], "error": None, "calibrated": _calibrated(answer),
        "top": [{"class": name, "probability": probability} for name, probability in told],
    }  # fmt: skip


def _table(stream: TextIO, classes: list[str], columns: list[str], top: int) -> tuple[Write, Callable[[], None]]:
    table = Table(box=None, header_style="bold")
    for name in columns:
        # Half a path is none.
        table.add_column(name, overflow="fold")

    def write(answers: Iterable[Prediction]) -> None:
        for each in answers:
            row = _flat(each, classes, top)
            cells = ("" if row.get(name) is None else str(row[name]) for name in columns)
            # A path may hold what rich takes for a style.
            table.add_row(*(Text(cell) for cell in cells), style="yellow" if each.error else None)

    return write, lambda: Console(file=stream, width=None if stream.isatty() else _WIDTH).print(table)
