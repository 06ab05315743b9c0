"""What a training may learn from and be chosen by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from pipeline.config import AugmentConfig, BackboneConfig, HardwareConfig, PhaseConfig
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import Manifest, class_indices
from pipeline.storage.cache import Cache
from pipeline.system.errors import PipelineError
from pipeline.training.features import FeatureCache


@dataclass(frozen=True)
class TrainingData:
    """The images that may be learned from and chosen by, decoded, and their features."""

    images: DecodedImages
    """Training and validation images, in manifest order: one set, whichever way a seed divides it."""
    train_indices: np.ndarray
    """Places of the training images among them, int64 [n]."""
    validation_indices: np.ndarray
    """Places of the validation images, int64 [m]."""
    labels: np.ndarray
    """Index of each image's class, int64 [n + m]."""
    classes: list[str]
    """Their names."""
    features: FeatureCache
    """Of these images."""

    @property
    def class_count(self) -> int:
        return len(self.classes)

    def images_seen(self, augment: AugmentConfig, phase: PhaseConfig) -> int:
        """How many images a phase sees, each variant of a training image counted."""
        return len(self.images) + (variants_seen(augment, phase) - 1) * len(self.train_indices)


def variants_seen(augment: AugmentConfig, phase: PhaseConfig) -> int:
    """In how many variants a phase sees each training image, the plain one counted."""
    return min(augment.views + 1, phase.epochs)


def training_data(
    manifest: Manifest,
    folder: Path,
    size: int,
    cache: Cache,
    *,
    backbone: BackboneConfig,
    hardware: HardwareConfig,
    variants: Variants | None = None,
) -> TrainingData:
    """The training and validation images of a manifest, decoded.

    Args:
        manifest: of the prepared data set.
        folder: that its paths start from.
        size: side of the square in pixels.
        cache: where decoded images and features are kept.
        backbone: what computes features.
        hardware: budgets, and how features are computed.
        variants: how training images are augmented; None where only the plain ones are needed.
    """
    rows = manifest.split("train", "validation")
    images = DecodedImages(folder, rows, size, cache, hardware.image_cache_gib, "decoding")
    train, validation = (np.flatnonzero(rows["split"] == split) for split in ("train", "validation"))
    features = FeatureCache(images, cache, backbone=backbone, hardware=hardware, variants=variants)
    return TrainingData(images, train, validation, class_indices(rows, manifest.classes), manifest.classes, features)


def class_weights(
    wanted: str | Mapping[str, float], labels: np.ndarray, classes: Sequence[str]
) -> dict[int, float] | None:
    """What an image of each class counts in the loss, by the class's index.

    Args:
        wanted: none, balanced (the inverse of the class's share, 1 on average over the images), or weights by class name, 1 where not named.
        labels: class indices of the training images, int [n].
        classes: their names.

    Raises:
        PipelineError: a weight for a class that there is not.
    """
    if wanted == "none":
        return None
    if wanted == "balanced":
        present = np.unique(labels)
        weights = compute_class_weight("balanced", classes=present, y=labels)
        return dict(zip(present.tolist(), weights.tolist(), strict=True))
    strange = [repr(name) for name in wanted if str(name) not in classes]
    if strange:
        raise PipelineError(
            f"train.class_weight: there is no class {', '.join(strange)}; the classes are {', '.join(map(repr, classes))}"
        )
    given = {str(name): float(weight) for name, weight in wanted.items()}
    return {index: given.get(name, 1.0) for index, name in enumerate(classes)}
