"""What a training may learn from and be chosen by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from pipeline.config import Config, PhaseConfig
from pipeline.data.sources import image_folder
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import Manifest, class_indices
from pipeline.storage.cache import Cache
from pipeline.system.errors import PipelineError


@dataclass(frozen=True)
class TrainingData:
    """The images that may be learned from and chosen by, decoded."""

    images: DecodedImages
    """Training and validation images, in manifest order: one set, whichever way a seed divides it."""
    training: np.ndarray
    """Places of the training images among them, int64 [n]."""
    validation: np.ndarray
    """Places of the validation images."""
    labels: np.ndarray
    """Index of each image's class, int64."""
    classes: list[str]
    """Their names."""

    @property
    def class_count(self) -> int:
        return len(self.classes)

    def shown(self, config: Config, phase: PhaseConfig) -> int:
        """How many images a phase sees, each view of a training image counted."""
        return len(self.images) + (variants_seen(config, phase) - 1) * len(self.training)


def variants_seen(config: Config, phase: PhaseConfig) -> int:
    """In how many views a phase sees each training image, the plain one counted."""
    return min(config.augment.views + 1, phase.epochs)


def training_data(manifest: Manifest, config: Config, cache: Cache, size: int | None = None) -> TrainingData:
    """The training and validation images of a manifest, at `size` pixels; None: `image_size`."""
    rows = manifest.split("train", "validation")
    images = DecodedImages(
        image_folder(config.dataset),
        rows,
        size or config.image_size,
        cache,
        config.hardware.image_cache_gib,
        "decoding",
    )
    places = [np.flatnonzero(rows["split"] == split) for split in ("train", "validation")]
    return TrainingData(images, *places, class_indices(rows, manifest.classes), manifest.classes)


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
