"""Whether an export answers as the classifier does, from the same files' bytes."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from pipeline.config import ExportConfig
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.formats import Exported, Format
from pipeline.inputs.decoding import SAFE_PIXELS, UndecodableError, pixels
from pipeline.system.errors import PipelineError
from pipeline.system.machine import on_all_cores

_TIMED = 30


@dataclass(frozen=True)
class Agreement:
    """How far an export's answers are from the classifier's."""

    images: int
    same_class: float
    """Share of images with the same most probable class."""
    largest_difference: float
    """Of a probability."""
    accuracy: float | None
    """Of the export, on the images whose label is known; None where none is."""
    classifier_accuracy: float | None
    """Of the classifier, on the same images."""


def decoded(files: list[Path], size: int) -> np.ndarray:
    """The images in `files`, uint8 [n, size, size, 3].

    Raises:
        PipelineError: one can't be read.
    """

    def read(file: Path) -> np.ndarray:
        try:
            return pixels(file.read_bytes(), size, SAFE_PIXELS)
        except (OSError, UndecodableError) as error:
            raise PipelineError(f"{file} can't be read to compare exports on: {error}") from error

    return np.stack(list(on_all_cores(read, files)))


def compare(expected: np.ndarray, given: np.ndarray, labels: np.ndarray) -> Agreement:
    """Two classifiers' probabilities [n, classes] of the same images; labels int [n], -1 where unknown."""
    guessed, meant, known = given.argmax(axis=1), expected.argmax(axis=1), labels >= 0
    return Agreement(
        images=len(labels),
        same_class=float((guessed == meant).mean()),
        largest_difference=float(np.abs(given.astype(np.float64) - expected).max()),
        accuracy=float((guessed == labels)[known].mean()) if known.any() else None,
        classifier_accuracy=float((meant == labels)[known].mean()) if known.any() else None,
    )


def check(
    kind: Format,
    exported: Exported,
    classifier: Classifier,
    files: list[Path],
    labels: np.ndarray,
    margins: ExportConfig,
) -> Agreement:
    """Ask classifier and export about the same files' bytes; each decodes them as its own description says.

    Raises:
        PipelineError: the export says something else of itself, or its answers are further away than `margins` allow.
    """
    told, meant = exported.description, classifier.description()
    if told != meant:
        wrong = [name for name in meant if told.get(name) != meant[name]]
        raise PipelineError(
            f"{kind.name}: the export lost what it should say of itself: {', '.join(wrong)}; nothing was written"
        )
    expected = in_batches(classifier, decoded(files, classifier.image_size))
    given = in_batches(exported, decoded(files, told["image_size"]))
    found = compare(expected, given, labels)
    if problem := _problem(kind, found, margins):
        raise PipelineError(f"{kind.name}: on {found.images} images the export {problem}; nothing was written")
    return found


def _problem(kind: Format, found: Agreement, margins: ExportConfig) -> str | None:
    if not np.isfinite(found.largest_difference):
        return "gives what is no number"
    if not kind.exact:
        least = margins.int8_agreement
        return (
            f"agrees with the classifier on {found.same_class:.1%}, less than export.int8_agreement={least:g} asks for"
            if found.same_class < least
            else None
        )
    if found.same_class < 1:
        return f"has another most probable class on {1 - found.same_class:.1%}"
    if found.largest_difference > margins.tolerance:
        return f"differs by {found.largest_difference:.2g} in a probability, more than export.tolerance={margins.tolerance:g}"
    return None


def in_batches(asked: Any, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Probabilities float32 [n, classes] of all images, by what has `probabilities`."""
    return np.concatenate(
        [asked.probabilities(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    )


def milliseconds(asked: Any, image: np.ndarray) -> float:
    """Median time for one image, uint8 [size, size, 3], once warm, on this machine as it is."""
    taken = []
    for _ in range(_TIMED):
        started = perf_counter()
        asked.probabilities(image[np.newaxis])
        taken.append(perf_counter() - started)
    return float(np.median(taken[_TIMED // 3 :])) * 1000
