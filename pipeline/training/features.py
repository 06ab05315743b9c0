"""Images of a stage with their labels, and a cache of the features that the frozen part of a classifier computes."""

import functools
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.config import BackboneConfig, HardwareConfig, ImageConfig
from pipeline.config.image import Decoding
from pipeline.config.size import Size
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.batches import FeatureInputs, ImageInputs, Inputs, VariantsByNumber, batches, in_order
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import Manifest, class_indices, sample_depth
from pipeline.models.parts import FrozenPart, Infer
from pipeline.storage.cache import GIB, Cache
from pipeline.storage.files import Json, file_sha256
from pipeline.storage.shards import Append, Rows, rows_bytes
from pipeline.system.paths import CODE
from pipeline.system.terminal import progress
from pipeline.training.frozen_batches import frozen_batch_size, halved
from pipeline.training.hardware import describe_machine

log = logging.getLogger(__name__)

KIND = "frozen"


@functools.cache
def _code() -> str:
    """Return a sha256 of the modules that compute features from images, which excludes the training code."""
    files = [file for folder in ("inputs", "models") for file in sorted((CODE / "pipeline" / folder).glob("*.py"))]
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


class NetworkSettings(Protocol):
    """Settings that features depend on, from a stage's settings or the whole configuration."""

    @property
    def image_size(self) -> Size:
        """Size of the images."""

    @property
    def image(self) -> ImageConfig:
        """Settings of the resizing."""

    @property
    def backbone(self) -> BackboneConfig:
        """Settings of the backbone."""

    @property
    def hardware(self) -> HardwareConfig:
        """Settings of the cache's budgets and of the computation of features."""


class FeatureCache:
    """Cached features of one set of images."""

    def __init__(self, images: DecodedImages, cache: Cache, settings: NetworkSettings):
        """Create the cache without computing features.

        Args:
            images: Images to compute features of.
            cache: Cache in which features are stored.
            settings: Backbone, the budget `hardware.feature_cache_gib`, and settings of the computation.
        """
        self.images = images
        self._cache, self._backbone, self._hardware = cache, settings.backbone, settings.hardware
        self._batch_size = frozen_batch_size(settings.hardware.frozen_batch_size)

    @property
    def depends(self) -> Json:
        """Return everything that features of unchanged images depend on, except the frozen part."""
        return self._depends(0)

    def fits(self, part: FrozenPart, count: int, *, warn: bool = False) -> bool:
        """Return whether features can be cached: `part` has weights, and the features of `count` images fit the budget.

        Args:
            part: Frozen part that computes the features.
            count: Number of images, where each variant of an image counts as one.
            warn: Whether to warn if features don't fit and are recomputed in each epoch.
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
            part: Frozen part that computes the features.
            indices: Indices of the images, integer [n].
            variants: Augmented variants of these images; None if only the unchanged images are needed.
            variant_count: Number of variants of each image, including the unchanged image, which is the first.
            intermediate: Lower part whose features are computed and cached too.
        """
        cached = []
        drawn: VariantsByNumber = variants or [None]
        for number in range(variant_count):
            # Features of unchanged images are computed for all images, so that experiments with other splits use them.
            chosen = indices if number else np.arange(len(self.images))
            depends = self._depends(number)
            if number and variants:
                depends |= {"places": hashlib.sha256(indices.tobytes()).hexdigest(), **variants.depends}
            images = ImageInputs(self.images, chosen, [drawn[number]])
            if intermediate:
                # These features are not used here, but fine-tuning starts from them by default.
                self._rows(intermediate, images, depends)
            rows = self._rows(part, images, depends)
            cached.append((rows, np.arange(len(indices)) if number else indices))
        return FeatureInputs(cached)

    def pooled(self, part: FrozenPart) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from indices of images, int [b], to the features of a pooled part, float32 [b, d]."""
        inputs = self.load(part, np.arange(len(self.images)))
        return lambda indices: inputs.take(indices, np.zeros(len(indices), np.int64)).astype(np.float32, copy=False)

    def _depends(self, number: int) -> Json:
        """Return everything that the features of a variant depend on, except the frozen part and the augmentation."""
        return {
            **self.images.depends,
            "backbone": self._backbone.network,
            "preprocessing": self._backbone.preprocessing,
            "batch_size": self._batch_size,
            "deterministic": self._hardware.deterministic,
            "machine": describe_machine(),
            "code": _code(),
            "view": number,
        }

    def _rows(self, part: FrozenPart, images: Inputs, depends: Json) -> Rows:
        """Return the cached outputs of a part, and compute them if they are missing.

        If the memory does not suffice, all rows are computed again in smaller batches, which later parts use too. An
        entry never has two batch sizes, since these change last digits; its own is part of its name.
        """
        while True:
            try:
                return self._rows_in_batches(part, images, depends | {"batch_size": self._batch_size})
            except tf.errors.ResourceExhaustedError as error:
                self._batch_size = halved(self._batch_size, error)

    def _rows_in_batches(self, part: FrozenPart, images: Inputs, depends: Json) -> Rows:
        def build(append: Append) -> None:
            inputs, infer = self._start(part, images, depends)
            title = f"frozen part, variant {depends['view']}" if depends["view"] else "frozen part"
            with progress(title, len(inputs)) as advance:
                for outputs in computed(infer, batches(inputs, in_order(len(inputs)), depends["batch_size"])):
                    append(outputs)
                    advance(len(outputs))

        depends = depends | {"part": part.digest}
        return self._cache.rows(KIND, depends, shape=part.shape, dtype=part.dtype, build=build)

    def _start(self, part: FrozenPart, images: Inputs, depends: Json) -> tuple[Inputs, Infer]:
        """Return the inputs from which a part's outputs are computed, and the function that computes them.

        The inputs are the outputs of the highest lower part that is cached, otherwise images.
        """
        for digest, make_lower in part.lower_parts():
            if self._cache.has(KIND, depends | {"part": digest}):
                lower = make_lower()
                rows = self._rows(lower, images, depends)
                return FeatureInputs([(rows, np.arange(len(images)))]), part.continue_from(lower)
        return images, part.from_pixels


def computed(infer: Infer, inputs: Iterable[tf.Tensor]) -> Iterator[np.ndarray]:
    """Yield the outputs of batches, each after the next was begun, so that a GPU computes while its caller stores."""
    for begun, _following in itertools.pairwise(itertools.chain(map(infer, inputs), [None])):
        yield begun.numpy()


def open_images(
    rows: pd.DataFrame, folder: Path, settings: NetworkSettings, cache: Cache, *, title: str
) -> FeatureCache:
    """Decode images, and return the cache of their features.

    Args:
        rows: Rows of the manifest.
        folder: Base folder of its paths.
        settings: Image size, resizing, backbone and budgets.
        cache: Cache in which decoded images and features are stored.
        title: Title of the progress bar.
    """
    budget = settings.hardware.image_cache_gib
    decoding = Decoding.of(settings.image_size, settings.image, sample_depth(rows))
    images = DecodedImages(folder, rows, decoding, cache, budget_gib=budget, title=title)
    return FeatureCache(images, cache, settings)


@dataclass(frozen=True)
class TrainingData:
    """Decoded training and validation images with their labels and features."""

    images: DecodedImages
    """Training and validation images together, in manifest order, which does not depend on the seed of the split."""
    train_indices: np.ndarray
    """Indices of the training images in `images`, int64 [n]."""
    validation_indices: np.ndarray
    """Indices of the validation images, int64 [m]."""
    labels: np.ndarray
    """Class index of each image, int64 [n + m]."""
    classes: list[str]
    """Class names."""
    features: FeatureCache
    """Features of `images`."""


def training_data(manifest: Manifest, folder: Path, settings: NetworkSettings, cache: Cache) -> TrainingData:
    """Decode the training and validation images of a manifest.

    Args:
        manifest: Manifest of the prepared data set.
        folder: Base folder of its paths.
        settings: Image size, resizing, backbone and budgets.
        cache: Cache in which decoded images and features are stored.
    """
    rows = manifest.split("train", "validation")
    features = open_images(rows, folder, settings, cache, title="decoding")
    train, validation = (np.flatnonzero(rows["split"] == split) for split in ("train", "validation"))
    labels = class_indices(rows, manifest.classes)
    return TrainingData(features.images, train, validation, labels, manifest.classes, features)
