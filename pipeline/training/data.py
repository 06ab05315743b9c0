"""Images and labels of a training, and how much each class counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from pipeline.config import FinetuneConfig, PhaseConfig
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import Manifest, class_indices
from pipeline.storage.cache import Cache
from pipeline.system.errors import PipelineError
from pipeline.training.features import FeatureCache, NetworkSettings, open_images


@dataclass(frozen=True)
class TrainingData:
    """Training and validation images, decoded, with their labels and features."""

    images: DecodedImages
    """Training and validation images, in manifest order: one set, however a seed divides it."""
    train_indices: np.ndarray
    """Indices of the training images in `images`, int64 [n]."""
    validation_indices: np.ndarray
    """Indices of the validation images, int64 [m]."""
    labels: np.ndarray
    """Class index of each image, int64 [n + m]."""
    classes: list[str]
    """Class names."""
    features: FeatureCache
    """Of `images`."""


def training_data(manifest: Manifest, folder: Path, settings: NetworkSettings, cache: Cache) -> TrainingData:
    """Decode the training and validation images of a manifest.

    Args:
        manifest: of the prepared data set.
        folder: that its paths start from.
        settings: size, backbone and budgets.
        cache: where decoded images and features are kept.
    """
    rows = manifest.split("train", "validation")
    features = open_images(rows, folder, settings, cache, title="decoding")
    train, validation = (np.flatnonzero(rows["split"] == split) for split in ("train", "validation"))
    labels = class_indices(rows, manifest.classes)
    return TrainingData(features.images, train, validation, labels, manifest.classes, features)


def class_weights(phase: PhaseConfig, labels: np.ndarray, classes: Sequence[str]) -> dict[int, float] | None:
    """Return the weight in the loss of each class's images, by class index; None: all count alike.

    Args:
        phase: has `class_weight`. balanced: inversely proportional to the class's frequency, 1 on average over the
            images. By class name: 1 where a class is not named.
        labels: class indices of the training images, int [n].
        classes: their names.

    Raises:
        PipelineError: a weight is for an unknown class.
    """
    if phase.class_weight == "none":
        return None
    if phase.class_weight == "balanced":
        present = np.unique(labels)
        weights = compute_class_weight("balanced", classes=present, y=labels)
        return dict(zip(present.tolist(), weights.tolist(), strict=True))
    # YAML reads a class called 1 as a number.
    by_name = {str(name): float(weight) for name, weight in phase.class_weight.items()}
    unknown = [repr(name) for name in by_name if name not in classes]
    if unknown:
        section = "finetune" if isinstance(phase, FinetuneConfig) else "train"
        raise PipelineError(
            f"{section}.class_weight: unknown class {', '.join(unknown)}; the classes are "
            f"{', '.join(map(repr, classes))}"
        )
    return {index: by_name.get(name, 1.0) for index, name in enumerate(classes)}
