"""Check that an export predicts as the classifier does, from the same files' bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from pipeline.config import ExportConfig
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.formats import Exported, Format, Predictor
from pipeline.deployment.exports.sample import Sample
from pipeline.inputs.decoding import SAFE_PIXELS, UndecodableError, pixels
from pipeline.system.errors import PipelineError
from pipeline.system.machine import on_all_cores

_TIMED = 30


@dataclass(frozen=True)
class Agreement:
    """Distance of an export's predictions from the classifier's."""

    images: int
    same_class: float
    """Fraction of images with the same most probable class."""
    largest_difference: float
    """Of a probability."""
    accuracy: float | None
    """Of the export, on the images whose label is known; None where none is."""
    classifier_accuracy: float | None
    """Of the classifier, on the same images."""


def decode_files(files: Sequence[Path], size: int) -> np.ndarray:
    """Decode the images in `files` to uint8 [n, size, size, 3].

    Raises:
        PipelineError: one can't be read.
    """

    def decode(file: Path) -> np.ndarray:
        try:
            return pixels(file.read_bytes(), size, SAFE_PIXELS)
        except (OSError, UndecodableError) as error:
            raise PipelineError(f"{file} can't be read to compare exports on: {error}") from error

    return np.stack(list(on_all_cores(decode, files)))


def compare(expected: np.ndarray, exported: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare the classifier's and an export's probabilities [n, classes] of the same images.

    Args:
        expected: the classifier's.
        exported: the export's.
        labels: int [n], -1 where unknown.
    """
    own, original, known = exported.argmax(axis=1), expected.argmax(axis=1), labels >= 0
    return Agreement(
        images=len(labels),
        same_class=float((own == original).mean()),
        largest_difference=float(np.abs(exported.astype(np.float64) - expected).max()),
        accuracy=float((own == labels)[known].mean()) if known.any() else None,
        classifier_accuracy=float((original == labels)[known].mean()) if known.any() else None,
    )


def check_parity(
    kind: Format, exported: Exported, classifier: Classifier, sample: Sample, *, margins: ExportConfig
) -> Agreement:
    """Predict the same files with classifier and export; each decodes them as its own description says.

    Raises:
        PipelineError: the export has another description, or its predictions differ by more than `margins` allow.
    """
    description, expected = exported.description, classifier.description()
    if description != expected:
        wrong = [name for name in expected if description.get(name) != expected[name]]
        raise PipelineError(
            f"{kind.name}: the export's description is wrong in {', '.join(wrong)}; nothing was written"
        )
    agreement = compare(
        _predict(classifier, decode_files(sample.files, classifier.image_size)),
        _predict(exported, decode_files(sample.files, description["image_size"])),
        sample.labels,
    )
    if problem := _problem(kind, agreement, margins):
        raise PipelineError(f"{kind.name}: on {agreement.images} images the export {problem}; nothing was written")
    return agreement


def _problem(kind: Format, agreement: Agreement, margins: ExportConfig) -> str | None:
    if not np.isfinite(agreement.largest_difference):
        return "predicts NaN or infinity"
    same = agreement.same_class
    if not kind.exact:
        least = margins.int8_agreement
        if same >= least:
            return None
        return f"agrees with the classifier on {same:.1%}, less than export.int8_agreement={least:g}"
    if same < 1:
        return f"has another most probable class on {1 - same:.1%}"
    if agreement.largest_difference > margins.tolerance:
        difference = f"{agreement.largest_difference:.2g}"
        return f"differs by {difference} in a probability, more than export.tolerance={margins.tolerance:g}"
    return None


def _predict(predictor: Predictor, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Probabilities float32 [n, classes] of all images."""
    starts = range(0, len(images), batch_size)
    return np.concatenate([predictor.probabilities(images[start : start + batch_size]) for start in starts])


def milliseconds(predictor: Predictor, image: np.ndarray) -> float:
    """Median time for one image, uint8 [size, size, 3], once warm, on this machine as it is."""
    times = []
    for _ in range(_TIMED):
        started = perf_counter()
        predictor.probabilities(image[np.newaxis])
        times.append(perf_counter() - started)
    return float(np.median(times[_TIMED // 3 :])) * 1000
