"""Images of a stage, their labels, and their features: what the frozen part computes, once for each image, cached."""

import functools
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from pipeline.config import BackboneConfig, HardwareConfig
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.batches import FeatureInputs, ImageInputs, Inputs, VariantsByNumber, batches, in_order
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import Manifest, class_indices
from pipeline.models.parts import FrozenPart, Infer
from pipeline.storage.cache import GIB, Cache
from pipeline.storage.files import Json, file_sha256
from pipeline.storage.shards import Append, Rows, rows_bytes
from pipeline.system.paths import CODE
from pipeline.system.terminal import progress
from pipeline.training.hardware import describe_environment

log = logging.getLogger(__name__)

KIND = "frozen"


@functools.cache
def _code() -> str:
    """sha256 over the modules that turn images into features; a change of the training code keeps the features."""
    files = [file for folder in ("inputs", "models") for file in sorted((CODE / "pipeline" / folder).glob("*.py"))]
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


class NetworkSettings(Protocol):
    """Settings that features depend on: those of a stage, or the whole configuration."""

    @property
    def image_size(self) -> int:
        """Side of the square in pixels."""

    @property
    def backbone(self) -> BackboneConfig:
        """The network."""

    @property
    def hardware(self) -> HardwareConfig:
        """Budgets of the cache, and how features are computed."""


class FeatureCache:
    """Cached features of one set of images."""

    def __init__(self, images: DecodedImages, cache: Cache, settings: NetworkSettings):
        """Create it without computing anything.

        Args:
            images: that features are computed of.
            cache: where features are kept.
            settings: the backbone, the budget `hardware.feature_cache_gib`, and how features are computed.
        """
        self.images = images
        self._cache, self._backbone, self._hardware = cache, settings.backbone, settings.hardware

    def fits(self, part: FrozenPart, count: int, *, warn: bool = False) -> bool:
        """Return whether features are worth caching: `part` computes some, and those of `count` images fit the budget.

        Args:
            part: what computes them.
            count: of images, each variant of an image as one.
            warn: that they are recomputed in each epoch, where they do not fit.
        """
        if part.empty:
            return False
        depends, gib = self._depends(0) | {"part": part.digest}, self._hardware.feature_cache_gib
        fits = self._cache.fits(KIND, depends, count=count, shape=part.shape, dtype=part.dtype, gib=gib)
        if warn and not fits:
            log.warning(
                "Not caching features: %d images and variants need %.1f GiB (limit hardware.feature_cache_gib=%g, or "
                "disk full or read-only); recomputing them in every epoch",
                count, rows_bytes(count, part.shape, part.dtype) / GIB, gib,
            )  # fmt: skip
        return fits

    def load(
        self,
        part: FrozenPart,
        indices: np.ndarray,
        *,
        variants: Variants | None = None,
        variant_count: int = 1,
        intermediate: FrozenPart | None = None,
    ) -> FeatureInputs:
        """Load features, and compute those that are not cached.

        Args:
            part: what computes them.
            indices: of the images, integer [n].
            variants: of these images; None: only the plain ones are needed.
            variant_count: how many variants of each image, the plain one first.
            intermediate: a lower part whose features are cached on the way.
        """
        cached = []
        drawn: VariantsByNumber = variants or [None]
        for number in range(variant_count):
            # The plain variant is of all images, so that experiments which split them otherwise share it.
            chosen = indices if number else np.arange(len(self.images))
            depends = self._depends(number)
            if number and variants:
                depends |= {"places": hashlib.sha256(indices.tobytes()).hexdigest(), **variants.depends}
            images = ImageInputs(self.images, chosen, [drawn[number]])
            if intermediate:
                # Not used here, but fine-tuning starts from it by default.
                self._rows(intermediate, images, depends)
            rows = self._rows(part, images, depends)
            cached.append((rows, np.arange(len(indices)) if number else indices))
        return FeatureInputs(cached)

    def _depends(self, number: int) -> Json:
        """All that features of a variant depend on but for the frozen part, and for how images are augmented."""
        return {
            **self.images.depends,
            "backbone": self._backbone.constructor,
            "preprocessing": self._backbone.preprocessing,
            "batch_size": self._hardware.frozen_batch_size,
            "deterministic": self._hardware.deterministic,
            "machine": describe_environment(),
            "code": _code(),
            "view": number,
        }

    def _rows(self, part: FrozenPart, images: Inputs, depends: Json) -> Rows:
        """The cache's entry of a part's outputs, computed if it is missing."""

        def build(append: Append) -> None:
            inputs, infer = self._start(part, images, depends)
            title = f"frozen part, variant {depends['view']}" if depends["view"] else "frozen part"
            with progress(title, len(inputs)) as advance:
                for batch in batches(inputs, in_order(len(inputs)), self._hardware.frozen_batch_size):
                    append(infer(batch).numpy())
                    advance(len(batch))

        depends = depends | {"part": part.digest}
        return self._cache.rows(KIND, depends, shape=part.shape, dtype=part.dtype, build=build)

    def _start(self, part: FrozenPart, images: Inputs, depends: Json) -> tuple[Inputs, Infer]:
        """Start of a part's computation: the outputs of the highest lower part that is cached, else images."""
        for digest, make_lower in part.lower_parts():
            if self._cache.has(KIND, depends | {"part": digest}):
                lower = make_lower()
                rows = self._rows(lower, images, depends)
                return FeatureInputs([(rows, np.arange(len(images)))]), part.continue_from(lower)
        return images, part.from_pixels


def open_images(
    rows: pd.DataFrame, folder: Path, settings: NetworkSettings, cache: Cache, *, title: str
) -> FeatureCache:
    """Decode images, and return the cache of their features.

    Args:
        rows: of the manifest.
        folder: that its paths start from.
        settings: size, backbone and budgets.
        cache: where decoded images and features are kept.
        title: of the progress bar.
    """
    budget = settings.hardware.image_cache_gib
    images = DecodedImages(folder, rows, settings.image_size, cache, budget_gib=budget, title=title)
    return FeatureCache(images, cache, settings)


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
