"""Predict files from beginning to end: paths in; rows, heat maps and a gallery out."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import cast

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.prediction.gallery import Gallery, HeatmapWriter
from pipeline.deployment.prediction.output import ROW_WRITERS, open_output
from pipeline.deployment.prediction.predictions import STANDARD_INPUT, Unreadable, expand_paths, predict
from pipeline.system.terminal import progress


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
