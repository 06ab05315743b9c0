"""Features of the frozen part: computed once for each image, and cached."""

import functools
import hashlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.config import BackboneConfig, HardwareConfig
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.batches import FeatureInputs, ImageInputs, Inputs, ViewsByNumber, batches, in_order
from pipeline.inputs.images import DecodedImages
from pipeline.models.parts import FrozenPart
from pipeline.storage.cache import GIB, Cache
from pipeline.storage.files import file_sha256
from pipeline.storage.shards import Append, Rows, rows_bytes
from pipeline.system.paths import CODE
from pipeline.system.terminal import progress
from pipeline.training.hardware import description

log = logging.getLogger(__name__)

KIND = "frozen"


@functools.cache
def _code() -> str:
    """sha256 over the modules that turn images into numbers: rate, epochs and head make no features anew, nor does the code of training."""
    files = [file for folder in ("inputs", "models") for file in sorted((CODE / "pipeline" / folder).glob("*.py"))]
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


class FeatureCache:
    """Features of one set of images, cached; the images themselves where features can't serve."""

    def __init__(
        self,
        images: DecodedImages,
        cache: Cache,
        *,
        backbone: BackboneConfig,
        hardware: HardwareConfig,
        variants: Variants | None = None,
    ):
        """`variants`: how the images are augmented; None: only the plain ones are asked for."""
        self.of_images = images
        self._cache, self._backbone, self._hardware, self._variants = cache, backbone, hardware, variants

    def fits(self, part: FrozenPart, count: int) -> bool:
        """Whether `part` computes anything, and its features of `count` images and variants are within the cache's budget."""
        if part.empty:
            return False
        depends = self._source(None, 0) | {"part": part.digest}
        return self._cache.fits(KIND, depends, count, part.shape, part.dtype, self._hardware.feature_cache_gib)

    def warn_if_too_large(self, part: FrozenPart, count: int) -> None:
        """Say that features are recomputed wherever they are needed, since caching them does not fit."""
        if part.empty or self.fits(part, count):
            return
        log.warning(
            "Not caching features: %d images and variants need %.1f GiB (limit hardware.feature_cache_gib=%g, or disk full or read-only); "
            "recomputing them wherever they are needed",
            count, rows_bytes(count, part.shape, part.dtype) / GIB, self._hardware.feature_cache_gib,
        )  # fmt: skip

    def images(self, places: np.ndarray) -> ImageInputs:
        """The images at `places` themselves, in any variant."""
        return ImageInputs(self.of_images, places, self._views(places))

    def features(
        self, part: FrozenPart, places: np.ndarray, views: int, title: str, intermediate: FrozenPart | None = None
    ) -> FeatureInputs:
        """Features of the images at `places` in the first `views` variants, the plain one first.

        Args:
            part: what computes them.
            places: integer [n].
            views: how many variants.
            title: of the progress bar.
            intermediate: a lower cut whose features are cached too, on the way.
        """
        cached, drawn = [], self._views(places)
        for view in range(views):
            # The plain one of all images of the set, so that experiments which divide it otherwise share it.
            chosen = places if view else np.arange(len(self.of_images))
            images = ImageInputs(self.of_images, chosen, [drawn[view]])
            named = f"{title}, view {view} of {views - 1}" if view else title
            source = self._source(places, view)
            if intermediate:
                # Not used here, but fine-tuning begins there by default.
                self._rows(intermediate, images, len(chosen), source, named)
            rows = self._rows(part, images, len(chosen), source, named)
            cached.append((rows, np.arange(len(places)) if view else places))
        return FeatureInputs(cached)

    def _views(self, places: np.ndarray) -> ViewsByNumber:
        return self._variants.of(len(places), self.of_images.size) if self._variants else [None]

    def _source(self, places: np.ndarray | None, view: int) -> dict[str, Any]:
        """All that features depend on but for the frozen part itself."""
        source = {
            **self.of_images.depends,
            "backbone": self._backbone.constructor,
            "preprocessing": self._backbone.preprocessing,
            "batch_size": self._hardware.frozen_batch_size,
            "deterministic": self._hardware.deterministic,
            "machine": description(),
            "code": _code(),
            "view": view,
        }
        if view:
            source["places"] = hashlib.sha256(places.tobytes()).hexdigest()
            source |= self._variants.depends
        return source

    def _rows(self, part: FrozenPart, images: Inputs, count: int, source: dict[str, Any], title: str) -> Rows:
        """The entry with the frozen part's outputs; one that is missing is computed from the highest place below that is there."""

        def build(append: Append) -> None:
            for digest, make_lower in part.lower_parts():
                if self._cache.has(KIND, source | {"part": digest}):
                    lower = make_lower()
                    kept = FeatureInputs([(self._rows(lower, images, count, source, title), np.arange(count))])
                    return self._compute(kept, part.continue_from(lower), count, append, title)
            return self._compute(images, part.from_pixels, count, append, title)

        return self._cache.rows(KIND, source | {"part": part.digest}, part.shape, part.dtype, build)

    def _compute(self, inputs: Inputs, infer: Callable, count: int, append: Append, title: str) -> None:
        size = self._hardware.frozen_batch_size
        with progress(title, count) as advance:
            for batch, _ in batches(inputs, np.zeros(count, np.int64), 1, size, in_order(count)):
                append(infer(batch).numpy())
                advance(len(batch))
