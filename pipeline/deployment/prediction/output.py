"""Output of predictions: rows, as CSV and JSON lines or as a table in the terminal; heat maps, and a gallery."""

import csv
import json
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

from rich.table import Table
from rich.text import Text

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.prediction.gallery import Gallery, HeatmapWriter
from pipeline.deployment.prediction.predictions import (
    STANDARD_INPUT,
    Batch,
    Prediction,
    Unreadable,
    expand_paths,
    predict,
    top_classes,
)
from pipeline.storage.files import whole_file
from pipeline.system.terminal import progress, table_console


@dataclass(frozen=True)
class Outputs:
    """Files that predictions are written to."""

    rows: Path | None = None
    """File of the rows; None: standard output."""
    format: str = "csv"
    """One of `ROW_WRITERS`."""
    top: int = 1
    """Number of classes in a row."""
    heatmaps: Path | None = None
    """Folder of heat maps; None: none."""
    gallery: Path | None = None
    """File of the gallery; None: none."""


@contextmanager
def open_output(file: Path | None) -> Iterator[TextIO]:
    """Open a file, written whole or not at all, or standard output (None); a path's bytes come out as they came in."""
    if file is None:
        cast(TextIOWrapper, sys.stdout).reconfigure(encoding="utf-8", errors="surrogateescape")
        yield sys.stdout
        return
    with whole_file(file) as unfinished, open(unfinished, "w", encoding="utf-8", errors="surrogateescape") as stream:
        yield stream


class RowWriter(AbstractContextManager["RowWriter"]):
    """Writes predictions as rows, within a `with` block."""

    def __init__(self, stream: TextIO, classes: list[str], top: int):
        """Write to `stream` the `top` most probable of `classes`, which are in the order of the probabilities."""
        self._stream, self._classes, self._top = stream, classes, min(top, len(classes))
        self._columns = ["path", "class", "probability", "error", "calibrated"]
        self._columns += [f"{name}_{place}" for place in range(2, self._top + 1) for name in ("class", "probability")]

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        pass

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Write one row per image."""

    def _cells(self, each: Prediction | Unreadable) -> dict[str, object]:
        """One image's cells, by column."""
        if isinstance(each, Unreadable):
            return {"path": each.path, "error": each.error}
        row: dict[str, object] = {"path": each.path, "error": "", "calibrated": _calibrated(each)}
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


def predict_files(words: Sequence[str], classifier: Classifier, outputs: Outputs, batch_size: int) -> int:
    """Predict all images that words of the command line name; return how many could not be read."""
    paths: Iterable[str] = expand_paths(words)
    total = None
    if STANDARD_INPUT in words:
        # As the file system has them, whatever the locale.
        cast(TextIOWrapper, sys.stdin).reconfigure(encoding="utf-8", errors="surrogateescape")
    else:
        paths = list(paths)
        total = len(paths)
    gallery = Gallery(classifier)
    heatmaps = HeatmapWriter(outputs.heatmaps, classifier) if outputs.heatmaps else None
    failed = 0
    with ExitStack() as stack:
        stream = stack.enter_context(open_output(outputs.rows))
        rows = stack.enter_context(ROW_WRITERS[outputs.format](stream, classifier.classes, outputs.top))
        advance = stack.enter_context(progress("predicting", total))
        for batch in predict(paths, classifier, batch_size):
            rows.add(batch)
            if outputs.gallery:
                gallery.add(batch)
            if heatmaps:
                heatmaps.add(batch)
            failed += sum(isinstance(each, Unreadable) for each in batch)
            advance(len(batch), note=f"{failed} unreadable" if failed else None)
    if outputs.gallery:
        gallery.write(outputs.gallery)
    return failed
