"""Predictions as images: heat maps as files, and a gallery on one page."""

import heapq
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.prediction.predictions import Batch, Prediction, Unreadable, top_classes
from pipeline.evaluation.gradcam import heatmaps
from pipeline.visuals.pages import write_page
from pipeline.visuals.thumbnails import data_uri, overlay

MAX_SHOWN = 200
_CLASSES = 3
# Characters of at most four bytes each.
_NAME = 60


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
        self._least_sure: list[tuple[float, int, Prediction]] = []
        self._errors: list[Unreadable] = []
        self._count, self._failed = 0, 0

    def add(self, batch: Batch) -> None:
        """Look through a batch."""
        for number, each in enumerate(batch, self._count):
            if isinstance(each, Unreadable):
                self._failed += 1
                self._errors += [each] if self._failed <= MAX_SHOWN else []
                continue
            # A heap gives up the smallest: here the surest.
            add = heapq.heappushpop if len(self._least_sure) >= MAX_SHOWN else heapq.heappush
            add(self._least_sure, (-float(each.probabilities.max()), number, each))
        self._count += len(batch)

    def write(self, file: Path) -> None:
        """Write the page, one file that loads nothing."""
        least_sure = [each for _, _, each in sorted(self._least_sure, reverse=True, key=lambda entry: entry[:2])]
        pairs = zip(least_sure, overlays(least_sure, self._classifier), strict=True)
        write_page(
            "predictions.html",
            file,
            title="Predictions",
            model=self._classifier.origin,
            count=self._count,
            failed=self._failed,
            errors=self._errors,
            cards=[self._card(each, heatmap) for each, heatmap in pairs],
        )

    def _card(self, prediction: Prediction, heatmap: np.ndarray) -> dict[str, object]:
        return {
            "path": prediction.path,
            "guesses": top_classes(prediction, self._classifier.classes, _CLASSES),
            "image_uri": data_uri(prediction.image),
            "overlay_uri": data_uri(heatmap),
        }
