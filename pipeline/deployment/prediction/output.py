"""Predictions as rows: CSV and JSON lines as they come, or a table in the terminal."""

import csv
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

from rich.table import Table
from rich.text import Text

from pipeline.deployment.prediction.predictions import Batch, Prediction, Unreadable, top_classes
from pipeline.storage.files import whole_file
from pipeline.system.terminal import table_console

Cell = str | float | None


@contextmanager
def open_output(file: Path | None) -> Iterator[TextIO]:
    """Open a file, written whole or not at all, or standard output (None); a path's bytes come out as they came in."""
    if file is None:
        cast(TextIOWrapper, sys.stdout).reconfigure(encoding="utf-8", errors="surrogateescape")
        yield sys.stdout
        return
    with whole_file(file) as unfinished, open(unfinished, "w", encoding="utf-8", errors="surrogateescape") as stream:
        yield stream


class RowWriter(ABC):
    """Writes predictions as rows, within a `with` block."""

    def __init__(self, stream: TextIO, classes: list[str], top: int):
        """Write to `stream` the `top` most probable of `classes`, which are in the order of the probabilities."""
        self._stream, self._classes, self._top = stream, classes, min(top, len(classes))
        self._columns = ["path", "class", "probability", "error", "calibrated"]
        self._columns += [f"{name}_{place}" for place in range(2, self._top + 1) for name in ("class", "probability")]

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:  # noqa: B027 (only a table has an end)
        pass

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Write one row per image."""

    def _cells(self, each: Prediction | Unreadable) -> dict[str, Cell]:
        """One image's cells, by column."""
        if isinstance(each, Unreadable):
            return {"path": each.path, "error": each.error}
        row: dict[str, Cell] = {"path": each.path, "error": "", "calibrated": _calibrated(each)}
        for place, (name, probability) in enumerate(top_classes(each, self._classes, self._top), 1):
            suffix = f"_{place}" if place > 1 else ""
            row |= {f"class{suffix}": name, f"probability{suffix}": probability}
        return row


class CsvWriter(RowWriter):
    """Comma-separated values, with a header."""

    def __init__(self, stream: TextIO, classes: list[str], top: int):
        super().__init__(stream, classes, top)
        self._lines = csv.DictWriter(_UnixLines(stream), self._columns, restval="")
        self._lines.writeheader()

    def add(self, batch: Batch) -> None:
        """Write one line per image."""
        self._lines.writerows(self._cells(each) for each in batch)
        self._stream.flush()


class JsonWriter(RowWriter):
    """One JSON object per line."""

    def add(self, batch: Batch) -> None:
        """Write one line per image."""
        self._stream.writelines(f"{json.dumps(self._content(each), ensure_ascii=False)}\n" for each in batch)
        self._stream.flush()

    def _content(self, each: Prediction | Unreadable) -> dict[str, object]:
        if isinstance(each, Unreadable):
            return {"path": each.path, "class": None, "probability": None, "error": each.error}
        top = [
            {"class": name, "probability": probability}
            for name, probability in top_classes(each, self._classes, self._top)
        ]
        return {"path": each.path} | top[0] | {"error": None, "calibrated": _calibrated(each), "top": top}


class TableWriter(RowWriter):
    """A table in the terminal, when the block ends."""

    def __init__(self, stream: TextIO, classes: list[str], top: int):
        super().__init__(stream, classes, top)
        self._table = Table(box=None, header_style="bold")
        for name in self._columns:
            # A path cut short is useless.
            self._table.add_column(name, overflow="fold")

    def add(self, batch: Batch) -> None:
        """Add one row per image."""
        for each in batch:
            row = self._cells(each)
            cells = ("" if row.get(name) is None else str(row[name]) for name in self._columns)
            # A path may hold what rich reads as a style.
            self._table.add_row(*map(Text, cells), style="yellow" if isinstance(each, Unreadable) else None)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            table_console(self._stream).print(self._table)


ROW_WRITERS: dict[str, type[RowWriter]] = {"csv": CsvWriter, "jsonl": JsonWriter, "table": TableWriter}


class _UnixLines:
    """Ends csv's lines in a line feed; as its own `lineterminator`, that leaves a path's carriage return unquoted."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + "\n")


def _calibrated(prediction: Prediction) -> float | None:
    """The calibrated probability of the most probable class."""
    return None if prediction.calibrated is None else round(float(prediction.calibrated.max()), 6)
