"""Output of predictions: rows in a file or the terminal, heat maps, and an HTML gallery."""

import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from PIL import Image

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.prediction_rows import ROW_WRITERS
from pipeline.deployment.predictions import (
    STANDARD_INPUT,
    Batch,
    Nearest,
    PassedOver,
    Prediction,
    Unreadable,
    expand_paths,
    predict,
    top_classes,
)
from pipeline.evaluation.gradcam import heatmaps
from pipeline.storage.files import whole_file
from pipeline.system.terminal import progress
from pipeline.visuals.pages import data_uri, overlay, write_page

MAX_SHOWN = 200
_CLASSES = 3
# Maximum length of an image's name in file names, in characters of at most four bytes.
_NAME = 60


@dataclass(frozen=True)
class Outputs:
    """Settings of the output of predictions."""

    rows: Path | None = None
    """File for the predictions; None for standard output."""
    format: str = "csv"
    """Format of the predictions, one of those in `prediction_rows`."""
    top: int = 1
    """Number of most probable classes per image."""
    neighbours: int = 0
    """Number of similar training images per image."""
    heatmaps: Path | None = None
    """Folder for heat maps; None for no heat maps."""
    gallery: Path | None = None
    """HTML file for the gallery; None for no gallery."""


@contextmanager
def open_output(file: Path | None) -> Iterator[TextIO]:
    """Open a file that is written completely or not at all, or standard output if `file` is None.

    Paths that are not valid UTF-8 are written with their original bytes.
    """
    if file is None:
        cast(TextIOWrapper, sys.stdout).reconfigure(encoding="utf-8", errors="surrogateescape")
        yield sys.stdout
        return
    with whole_file(file) as unfinished, open(unfinished, "w", encoding="utf-8", errors="surrogateescape") as stream:
        yield stream


class HeatmapWriter:
    """Writer of heat maps as `<number>-<name>.png`, numbered in the order of the predictions."""

    def __init__(self, folder: Path, classifier: Classifier):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._classifier, self._number = folder, classifier, 0

    def add(self, batch: Batch) -> None:
        """Write the heat map of each readable image of a batch."""
        maps = iter(overlays([each for each in batch if isinstance(each, Prediction)], self._classifier))
        for each in batch:
            self._number += 1
            if isinstance(each, Prediction):
                # Shortened, because a name of maximum length would become too long with the number.
                name = Path(each.path).stem[:_NAME]
                Image.fromarray(next(maps)).save(self._folder / f"{self._number:06}-{name}.png")


def overlays(predictions: Sequence[Prediction], classifier: Classifier) -> list[np.ndarray]:
    """Blend each image with the heat map of its most probable class, uint8 [h, w, 3] each."""
    if not predictions:
        return []
    images = np.stack([each.image for each in predictions])
    targets = np.array([each.probabilities.argmax() for each in predictions])
    maps = heatmaps(classifier.model, images, targets)
    return [overlay(*pair) for pair in zip(images, maps, strict=True)]


class Gallery:
    """HTML gallery of the least confident predictions and of the first errors, at most MAX_SHOWN of each."""

    def __init__(self, classifier: Classifier):
        self._classifier = classifier
        self._least_sure: list[Prediction] = []
        self._errors: list[Unreadable] = []
        self._count, self._failed = 0, 0

    def add(self, batch: Batch) -> None:
        """Update the gallery with a batch."""
        # Of equally confident predictions, later ones come first.
        readable = [each for each in reversed(batch) if isinstance(each, Prediction)]
        by_sureness = sorted([*readable, *self._least_sure], key=lambda each: each.probabilities.max())
        self._least_sure = by_sureness[:MAX_SHOWN]
        errors = [each for each in batch if isinstance(each, Unreadable)]
        self._errors = [*self._errors, *errors][:MAX_SHOWN]
        self._failed += len(errors)
        self._count += len(batch)

    def write(self, file: Path) -> None:
        """Write the gallery as a self-contained HTML page."""
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


def predict_files(
    words: Sequence[str],
    classifier: Classifier,
    outputs: Outputs,
    batch_size: int,
    passed_over: PassedOver | None = None,
    nearest: Nearest | None = None,
) -> int:
    """Predict all images given on the command line, write the outputs, and return the number of unreadable images.

    Args:
        words: Files, folders and glob patterns, or `-` for paths from standard input.
        classifier: Classifier that predicts the images.
        outputs: Settings of the output.
        batch_size: Images per batch.
        passed_over: Object that counts files in the folders that are not predicted.
        nearest: Search for similar training images; None for no search.
    """
    paths: Iterable[str] = expand_paths(words, passed_over)
    total = None
    if STANDARD_INPUT in words:
        _set_encoding(cast(TextIOWrapper, sys.stdin))
    else:
        paths = list(paths)
        total = len(paths)
    gallery = Gallery(classifier)
    heatmaps = HeatmapWriter(outputs.heatmaps, classifier) if outputs.heatmaps else None
    failed = 0
    with ExitStack() as stack:
        stream = stack.enter_context(open_output(outputs.rows))
        add_rows = stack.enter_context(
            ROW_WRITERS[outputs.format](stream, classifier.classes, outputs.top, outputs.neighbours)
        )
        advance = stack.enter_context(progress("predicting", total))
        for batch in predict(paths, classifier, batch_size, nearest):
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


def _set_encoding(paths: TextIOWrapper) -> None:
    """Set the encoding of a list of paths: UTF-16 if it begins with the mark of this encoding."""
    start = cast(BufferedReader, paths.buffer).peek(2)[:2]
    if start in (BOM_UTF16_LE, BOM_UTF16_BE):
        paths.reconfigure(encoding="utf-16", errors="replace")
    else:
        # Paths are bytes of the file system, independent of the locale.
        paths.reconfigure(encoding="utf-8", errors="surrogateescape")
