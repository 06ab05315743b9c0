"""What a training may learn from and be chosen by."""

from dataclasses import dataclass

import numpy as np

from pipeline.cache import Cache
from pipeline.config import Config, PhaseConfig
from pipeline.data.listing import pictures_folder
from pipeline.data.manifest import Manifest, class_indices
from pipeline.data.pictures import Pictures


@dataclass(frozen=True)
class TrainingData:
    """The pictures that may be learned from and chosen by, decoded."""

    pictures: Pictures
    """Training and validation pictures, in manifest order: one set, whichever way a seed divides it."""
    training: np.ndarray
    """Places of the training pictures among them, int64 [n]."""
    validation: np.ndarray
    """Places of the validation pictures."""
    labels: np.ndarray
    """Index of each picture's class, int64."""
    classes: list[str]
    """Their names."""

    @property
    def class_count(self) -> int:
        return len(self.classes)

    def shown(self, config: Config, phase: PhaseConfig) -> int:
        """How many pictures a phase sees, each view of a training picture counted."""
        return len(self.pictures) + (views_seen(config, phase) - 1) * len(self.training)


def views_seen(config: Config, phase: PhaseConfig) -> int:
    """In how many views a phase sees each training picture, the plain one counted."""
    return min(config.augment.views + 1, phase.epochs)


def training_data(manifest: Manifest, config: Config, cache: Cache, size: int | None = None) -> TrainingData:
    """The training and validation pictures of a manifest, at `size` pixels; None: `image_size`."""
    rows = manifest.split("train", "validation")
    pictures = Pictures(
        pictures_folder(config.dataset),
        rows,
        size or config.image_size,
        cache,
        config.hardware.picture_cache_gib,
        "decoding",
    )
    places = [np.flatnonzero(rows["split"] == split) for split in ("train", "validation")]
    return TrainingData(pictures, *places, class_indices(rows, manifest.classes), manifest.classes)
