"""Predictions as rows of comma-separated values, JSON lines, or a table in the terminal."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.table import Table
from rich.text import Text

from pipeline.deployment.predictions import Batch, Prediction, Unreadable, top_classes
from pipeline.system.terminal import table_console

# Columns of a similar training image.
_NEIGHBOUR = ("neighbour", "neighbour_class", "similarity")

Add = Callable[[Batch], None]
"""Function that writes a batch to an output."""


@contextmanager
def csv_rows(stream: TextIO, classes: list[str], top: int, neighbours: int = 0) -> Iterator[Add]:
    """Write predictions as comma-separated values, with a header and one line per image."""
    lines = csv.DictWriter(_UnixLines(stream), row_columns(classes, top, neighbours), restval="")
    lines.writeheader()

    def add(batch: Batch) -> None:
        lines.writerows(row_of(each, classes, top) for each in batch)
        stream.flush()

    yield add


@contextmanager
def json_rows(stream: TextIO, classes: list[str], top: int, neighbours: int = 0) -> Iterator[Add]:
    """Write predictions as JSON lines, one object per image."""

    def content(each: Prediction | Unreadable) -> dict[str, object]:
        if isinstance(each, Unreadable):
            return {"path": each.path, "class": None, "probability": None, "error": each.error}
        best = [{"class": name, "probability": value} for name, value in top_classes(each, classes, top)]
        near = [{"path": near.path, "class": near.label, "similarity": near.similarity} for near in each.neighbours]
        row: dict[str, object] = {"path": each.path, **best[0], "error": None, "calibrated": _calibrated(each)}
        return row | {"top": best} | ({"neighbours": near} if neighbours else {})

    def add(batch: Batch) -> None:
        stream.writelines(f"{json.dumps(content(each), ensure_ascii=False)}\n" for each in batch)
        stream.flush()

    yield add


@contextmanager
def table_rows(stream: TextIO, classes: list[str], top: int, neighbours: int = 0) -> Iterator[Add]:
    """Print predictions as a table with one row per image, when the `with` block ends."""
    columns, table = row_columns(classes, top, neighbours), Table(box=None, header_style="bold")
    for name in columns:
        # Long paths are wrapped instead of truncated.
        table.add_column(name, overflow="fold")

    def add(batch: Batch) -> None:
        for each in batch:
            row = row_of(each, classes, top)
            cells = ("" if row.get(name) is None else str(row[name]) for name in columns)
            # Text objects, because rich would interpret brackets in a path as markup.
            table.add_row(*map(Text, cells), style="yellow" if isinstance(each, Unreadable) else None)

    yield add
    table_console(stream).print(table)


ROW_WRITERS = {"csv": csv_rows, "jsonl": json_rows, "table": table_rows}
"""Context managers by format; each yields a function that writes the predictions of a batch.

They write the `top` most probable classes, and `neighbours` similar training images.
"""


def row_columns(classes: list[str], top: int, neighbours: int = 0) -> list[str]:
    """Return the columns of tables with the `top` most probable classes, and similar training images."""
    further = [f"{name}_{place}" for place in range(2, min(top, len(classes)) + 1) for name in ("class", "probability")]
    near = [f"{name}{_suffix(place)}" for place in range(1, neighbours + 1) for name in _NEIGHBOUR]
    return ["path", "class", "probability", "error", "calibrated", *further, *near]


def _suffix(place: int) -> str:
    return f"_{place}" if place > 1 else ""


def row_of(each: Prediction | Unreadable, classes: list[str], top: int) -> dict[str, object]:
    """Return the values of one image by column."""
    if isinstance(each, Unreadable):
        return {"path": each.path, "error": each.error}
    row: dict[str, object] = {"path": each.path, "error": "", "calibrated": _calibrated(each)}
    for place, (name, probability) in enumerate(top_classes(each, classes, top), 1):
        row |= {f"class{_suffix(place)}": name, f"probability{_suffix(place)}": probability}
    for place, near in enumerate(each.neighbours, 1):
        values = zip(_NEIGHBOUR, (near.path, near.label, near.similarity), strict=True)
        row |= {f"{name}{_suffix(place)}": value for name, value in values}
    return row


class _UnixLines:
    """Stream that replaces the line ends of csv by line feeds.

    With a line feed as its `lineterminator`, csv would not quote carriage returns in paths.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + "\n")


def _calibrated(prediction: Prediction) -> float | None:
    """Return the calibrated probability of the most probable class; None if the temperature is unknown."""
    return None if prediction.calibrated is None else round(float(prediction.calibrated.max()), 6)
