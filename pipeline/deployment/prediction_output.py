"""Output of predictions: rows, as CSV and JSON lines or as a table in the terminal; heat maps, and a gallery."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from PIL import Image
from rich.table import Table
from rich.text import Text

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.predictions import (
    STANDARD_INPUT,
    Batch,
    Prediction,
    Unreadable,
    expand_paths,
    predict,
    top_classes,
)
from pipeline.evaluation.gradcam import heatmaps
from pipeline.storage.files import whole_file
from pipeline.system.terminal import progress, table_console
from pipeline.visuals.pages import data_uri, overlay, write_page

MAX_SHOWN = 200
_CLASSES = 3
# Characters of at most four bytes each.
_NAME = 60

Add = Callable[[Batch], None]
"""Adds a batch to an output."""


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


@contextmanager
def csv_rows(stream: TextIO, classes: list[str], top: int) -> Iterator[Add]:
    """Comma-separated values, with a header and one line per image."""
    lines = csv.DictWriter(_UnixLines(stream), _columns(classes, top), restval="")
    lines.writeheader()

    def add(batch: Batch) -> None:
        lines.writerows(_cells(each, classes, top) for each in batch)
        stream.flush()

    yield add


@contextmanager
def json_rows(stream: TextIO, classes: list[str], top: int) -> Iterator[Add]:
    """One JSON object per image, each on a line."""

    def content(each: Prediction | Unreadable) -> dict[str, object]:
        if isinstance(each, Unreadable):
            return {"path": each.path, "class": None, "probability": None, "error": each.error}
        best = [{"class": name, "probability": value} for name, value in top_classes(each, classes, top)]
        return {"path": each.path} | best[0] | {"error": None, "calibrated": _calibrated(each), "top": best}

    def add(batch: Batch) -> None:
        stream.writelines(f"{json.dumps(content(each), ensure_ascii=False)}\n" for each in batch)
        stream.flush()

    yield add


@contextmanager
def table_rows(stream: TextIO, classes: list[str], top: int) -> Iterator[Add]:
    """A table in the terminal, one row per image, when the block ends."""
    columns, table = _columns(classes, top), Table(box=None, header_style="bold")
    for name in columns:
        # A path cut short is useless.
        table.add_column(name, overflow="fold")

    def add(batch: Batch) -> None:
        for each in batch:
            row = _cells(each, classes, top)
            cells = ("" if row.get(name) is None else str(row[name]) for name in columns)
            # A path may hold what rich reads as a style.
            table.add_row(*map(Text, cells), style="yellow" if isinstance(each, Unreadable) else None)

    yield add
    table_console(stream).print(table)


ROW_WRITERS = {"csv": csv_rows, "jsonl": json_rows, "table": table_rows}
"""Each writes the `top` most probable of `classes`, in the order of the probabilities, within a `with` block."""


def _columns(classes: list[str], top: int) -> list[str]:
    further = [f"{name}_{place}" for place in range(2, min(top, len(classes)) + 1) for name in ("class", "probability")]
    return ["path", "class", "probability", "error", "calibrated", *further]


def _cells(each: Prediction | Unreadable, classes: list[str], top: int) -> dict[str, object]:
    """One image's cells, by column."""
    if isinstance(each, Unreadable):
        return {"path": each.path, "error": each.error}
    row: dict[str, object] = {"path": each.path, "error": "", "calibrated": _calibrated(each)}
    for place, (name, probability) in enumerate(top_classes(each, classes, top), 1):
        suffix = f"_{place}" if place > 1 else ""
        row |= {f"class{suffix}": name, f"probability{suffix}": probability}
    return row


class _UnixLines:
    """Ends csv's lines in a line feed; as its own `lineterminator`, that leaves a path's carriage return unquoted."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + "\n")


def _calibrated(prediction: Prediction) -> float | None:
    """The calibrated probability of the most probable class."""
    return None if prediction.calibrated is None else round(float(prediction.calibrated.max()), 6)


class HeatmapWriter:
    """Writes where the classifier looked as `<number>-<name>.png`, numbered as the rows are."""

    def __init__(self, folder: Path, classifier: Classifier):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._classifier, self._number = folder, classifier, 0

    def add(self, batch: Batch) -> None:
        """Write a file for each image."""
        maps = iter(overlays([each for each in batch if isinstance(each, Prediction)], self._classifier))
        for each in batch:
            self._number += 1
            if isinstance(each, Prediction):
                # The number makes it longer, and a name may be as long as a file system allows.
                name = Path(each.path).stem[:_NAME]
                Image.fromarray(next(maps)).save(self._folder / f"{self._number:06}-{name}.png")


def overlays(predictions: Sequence[Prediction], classifier: Classifier) -> list[np.ndarray]:
    """Each image under the heat map of its most probable class: uint8 [size, size, 3]."""
    if not predictions:
        return []
    images = np.stack([each.image for each in predictions])
    targets = np.array([each.probabilities.argmax() for each in predictions])
    maps = heatmaps(classifier.model, images, targets)
    return [overlay(*pair) for pair in zip(images, maps, strict=True)]


class Gallery:
    """Collects the least sure predictions and the first errors, at most MAX_SHOWN of each, however many images pass."""

    def __init__(self, classifier: Classifier):
        self._classifier = classifier
        self._least_sure: list[Prediction] = []
        self._errors: list[Unreadable] = []
        self._count, self._failed = 0, 0

    def add(self, batch: Batch) -> None:
        """Look through a batch."""
        # Of equally sure ones, the later come first.
        readable = [each for each in reversed(batch) if isinstance(each, Prediction)]
        by_sureness = sorted([*readable, *self._least_sure], key=lambda each: each.probabilities.max())
        self._least_sure = by_sureness[:MAX_SHOWN]
        errors = [each for each in batch if isinstance(each, Unreadable)]
        self._errors = [*self._errors, *errors][:MAX_SHOWN]
        self._failed += len(errors)
        self._count += len(batch)

    def write(self, file: Path) -> None:
        """Write the page, one file that loads nothing."""
        cards = [
            {
                "path": each.path,
                "guesses": top_classes(each, self._classifier.classes, _CLASSES),
                "image_uri": data_uri(each.image),
                "overlay_uri": data_uri(heatmap),
            }
            for each, heatmap in zip(self._least_sure, overlays(self._least_sure, self._classifier), strict=True)
        ]
        write_page(
            "predictions.html",
            file,
            title="Predictions",
            model=self._classifier.origin,
            count=self._count,
            failed=self._failed,
            errors=self._errors,
            cards=cards,
        )


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
        add_rows = stack.enter_context(ROW_WRITERS[outputs.format](stream, classifier.classes, outputs.top))
        advance = stack.enter_context(progress("predicting", total))
        for batch in predict(paths, classifier, batch_size):
            add_rows(batch)
            if outputs.gallery:
                gallery.add(batch)
            if heatmaps:
                heatmaps.add(batch)
            failed += sum(isinstance(each, Unreadable) for each in batch)
            advance(len(batch), note=f"{failed} unreadable" if failed else None)
    if outputs.gallery:
        gallery.write(outputs.gallery)
    return failed
