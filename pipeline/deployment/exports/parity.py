"""Check that an export predicts as the classifier does, on the same image files.

The images are those of the classifier's experiment, or of a folder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from pipeline.config import Config, DatasetConfig, ExportConfig
from pipeline.config.image import Decoding
from pipeline.data.class_names import canonical
from pipeline.data.sources import image_folder, list_images
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.formats import Exported, Format, Predictor
from pipeline.deployment.predictions import expand_paths
from pipeline.inputs.decoding import SAFE_PIXELS, UndecodableError, pixels
from pipeline.system.errors import PipelineError
from pipeline.system.machine import on_all_cores
from pipeline.tracking.classifier_files import ModelReference, run_of

MIN_IMAGES = 64
_SEED = 0
_TIMED, _BATCH = 30, 64
_Labelled = list[tuple[str, str]]
"""Pairs of path and label."""


@dataclass(frozen=True)
class Sample:
    """Random sample of image files with a fixed seed."""

    files: list[Path]
    """Images on which classifier and exports are compared."""
    labels: np.ndarray
    """Class index of each of these images, int [n]; -1 if unknown."""
    representative: list[Path]
    """Images from which a converter to int8 computes the ranges of values."""


def experiment_sample(reference: ModelReference, classes: list[str], config: Config) -> Sample:
    """Sample images of the classifier's experiment: test images for the comparison, other ones as representative.

    Raises:
        PipelineError: The run of the experiment is unknown or was deleted, or there are too few images.
    """
    from pipeline.tracking.store import run_artifact

    run_id, names = run_of(reference), ("config.yaml", "evaluate/predictions.parquet")
    settings, predictions = (run_artifact(config.tracking, run_id, name) if run_id else None for name in names)
    if settings is None or predictions is None:
        raise PipelineError(
            f"{reference.origin}: the images of its experiment are unknown; "
            f"give a folder of at least {MIN_IMAGES} images with --images DIR"
        )
    dataset = OmegaConf.to_object(OmegaConf.merge(DatasetConfig, OmegaConf.load(settings).dataset))
    tested = pd.read_parquet(predictions, columns=["path", "label"])
    labels = dict(zip(tested["path"], tested["label"], strict=True))
    others = [(image.path, image.label) for image in list_images(dataset).images if image.path not in labels]
    first, second = _shuffled(labels.items()), _shuffled(others)
    # A small test set is extended by other images.
    few = len(first) < MIN_IMAGES
    compared = (first + second)[: max(config.export.images, MIN_IMAGES)] if few else first[: config.export.images]
    used = set(compared)
    left = [pair for pair in second if pair not in used] or second
    return _sample(image_folder(dataset), compared, left[: config.export.int8_images], classes)


def folder_sample(folder: Path, classes: list[str], export: ExportConfig) -> Sample:
    """Sample images in `folder` and its subfolders; the name of an image's folder is its label if it is a class."""
    files = [path for path in expand_paths([str(folder)]) if Path(path).is_file()]
    images = _shuffled([(path, canonical(Path(path).parent.name)) for path in files])
    compared, left = images[: export.images], images[export.images :]
    if len(left) < export.int8_images:
        # Images are used for both purposes, because ranges from very few images would be unreliable.
        left = left + compared
    return _sample(Path(), compared, left[: export.int8_images], classes)


def _shuffled(images: Iterable[tuple[str, str]]) -> _Labelled:
    ordered = sorted(images)
    return [ordered[place] for place in np.random.default_rng(_SEED).permutation(len(ordered))]


def _sample(folder: Path, compared: _Labelled, representative: _Labelled, classes: list[str]) -> Sample:
    if len(compared) < MIN_IMAGES:
        raise PipelineError(
            f"{len(compared)} images are too few to compare exports, which takes {MIN_IMAGES}; add images to the data set, or "
            "name a folder of others with `python -m pipeline.export --images DIR`"
        )
    labels = pd.Categorical([label for _, label in compared], categories=classes).codes.astype(np.int64)
    return Sample([folder / path for path, _ in compared], labels, [folder / path for path, _ in representative])


@dataclass(frozen=True)
class Agreement:
    """Agreement of an export's predictions with those of the classifier."""

    images: int
    """Number of images."""
    same_class: float
    """Fraction of images with the same most probable class."""
    largest_difference: float
    """Maximum absolute difference of two probabilities."""
    accuracy: float | None
    """Accuracy of the export on the images with known labels; None if no label is known."""
    classifier_accuracy: float | None
    """Accuracy of the classifier on the same images."""


def decode_files(files: Sequence[Path], decoding: Decoding) -> np.ndarray:
    """Decode and resize images to uint8 [n, h, w, 3]; see `pipeline.inputs.decoding.pixels`.

    Raises:
        PipelineError: An image can't be read.
    """

    def decode(file: Path) -> np.ndarray:
        try:
            return pixels(file.read_bytes(), decoding, SAFE_PIXELS)
        except (OSError, UndecodableError) as error:
            raise PipelineError(f"{file}, an image for the comparison of exports, can't be read: {error}") from error

    return np.stack(list(on_all_cores(decode, files)))


def compare(expected: np.ndarray, exported: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare the predictions of an export with those of the classifier.

    Args:
        expected: Probabilities of the classifier, float32 [n, classes].
        exported: Probabilities of the export, float32 [n, classes].
        labels: Class indices, int [n]; -1 if unknown.
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
    """Check that an export has the same description and predictions as the classifier.

    Raises:
        PipelineError: The descriptions differ, or the predictions differ by more than `margins`.
    """
    description, expected = exported.description, classifier.description()
    if description != expected:
        wrong = [name for name in expected if description.get(name) != expected[name]]
        raise PipelineError(
            f"{kind.name}: the description of the export has wrong values of {', '.join(wrong)}; nothing was written"
        )
    images = decode_files(sample.files, classifier.decoding)
    agreement = compare(_predict(classifier, images), _predict(exported, images), sample.labels)
    if problem := _problem(kind, agreement, margins):
        raise PipelineError(f"{kind.name}: on {agreement.images} images the export {problem}; nothing was written")
    return agreement


def _problem(kind: Format, agreement: Agreement, margins: ExportConfig) -> str | None:
    if not np.isfinite(agreement.largest_difference):
        return "predicts NaN or infinity"
    same, difference = agreement.same_class, agreement.largest_difference
    if not kind.exact and same < margins.int8_agreement:
        return f"agrees with the classifier on {same:.1%}, less than export.int8_agreement={margins.int8_agreement:g}"
    if kind.exact and same < 1:
        return f"predicts a different class than the classifier on {1 - same:.1%}"
    if kind.exact and difference > margins.tolerance:
        return f"has a probability that differs by {difference:.2g}, more than export.tolerance={margins.tolerance:g}"
    return None


def _predict(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """Predict probabilities, float32 [n, classes], of all images in batches."""
    starts = range(0, len(images), _BATCH)
    return np.concatenate([predictor.probabilities(images[start : start + _BATCH]) for start in starts])


def milliseconds(predictor: Predictor, image: np.ndarray) -> float:
    """Measure the median prediction time for one image, uint8 [h, w, 3], in milliseconds, after warm-up."""
    times = []
    for _ in range(_TIMED):
        started = perf_counter()
        predictor.probabilities(image[np.newaxis])
        times.append(perf_counter() - started)
    return float(np.median(times[_TIMED // 3 :])) * 1000
