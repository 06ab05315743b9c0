"""Answers to look at: heat maps as files, and a gallery on one page."""

import heapq
import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.prediction.output import guesses
from pipeline.deployment.prediction.predictions import Prediction
from pipeline.evaluation.gradcam import heatmaps, overlay
from pipeline.visuals.pages import write_page
from pipeline.visuals.thumbnails import data_uri

MOST_SHOWN = 200
_GUESSES = 3
# Characters of at most four bytes each.
_NAME = 60


class HeatmapWriter:
    """Writes what the classifier looked at as `<number>-<name>.png`, numbered as the rows are."""

    def __init__(self, folder: Path, classifier: Classifier):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._classifier, self._number = folder, classifier, 0

    def __call__(self, answers: list[Prediction]) -> None:
        readable = [each for each in answers if each.image is not None]
        maps = iter(overlays(readable, self._classifier))
        for each in answers:
            self._number += 1
            if each.image is not None:
                # The number makes it longer, and a name may be as long as a file system allows.
                name = Path(each.path).stem[:_NAME]
                Image.fromarray(next(maps)).save(self._folder / f"{self._number:06}-{name}.png")


def overlays(answers: list[Prediction], classifier: Classifier) -> list[np.ndarray]:
    """Each image with the heat map of its most probable class: uint8 [size, size, 3]."""
    if not answers:
        return []
    images = np.stack([each.image for each in answers])
    targets = np.array([each.probabilities.argmax() for each in answers])
    maps = heatmaps(classifier.model, images, targets)
    return [overlay(*pair) for pair in zip(images, maps, strict=True)]


class Gallery:
    """Collects what is worth looking at, however many images pass: the least sure answers, and the first errors."""

    def __init__(self, classifier: Classifier):
        self._classifier = classifier
        self._least_sure: list[tuple[float, int, Prediction]] = []
        self._errors: list[Prediction] = []
        self._number, self._failed = itertools.count(), 0

    def __call__(self, answers: Iterable[Prediction]) -> None:
        for each in answers:
            number = next(self._number)
            if each.probabilities is None:
                self._failed += 1
                self._errors += [each] if self._failed <= MOST_SHOWN else []
                continue
            # A heap gives up the smallest: here the surest.
            add = heapq.heappushpop if len(self._least_sure) >= MOST_SHOWN else heapq.heappush
            add(self._least_sure, (-float(each.probabilities.max()), number, each))

    def write(self, file: Path) -> None:
        """The page, one file that loads nothing."""
        shown = [each for _, _, each in sorted(self._least_sure, reverse=True, key=lambda entry: entry[:2])]
        pairs = zip(shown, overlays(shown, self._classifier), strict=True)
        write_page(
            "predictions.html",
            file,
            title="Predictions",
            model=self._classifier.origin,
            asked=next(self._number),
            failed=self._failed,
            errors=self._errors,
            cards=[self._card(each, heat) for each, heat in pairs],
        )

    def _card(self, answer: Prediction, heat: np.ndarray) -> dict:
        return {
            "path": answer.path,
            "guesses": guesses(answer, self._classifier.classes, _GUESSES),
            "image_uri": data_uri(answer.image),
            "overlay_uri": data_uri(heat),
        }
