"""Features of the frozen part: computed once for each image, and cached."""

import functools
import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.inputs.augmentation import Views
from pipeline.inputs.batches import FeatureInputs, ImageInputs, Inputs, batches, in_order
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
    """sha256 over the modules that make images into numbers."""
    files = [file for folder in ("inputs", "models") for file in sorted((CODE / "pipeline" / folder).glob("*.py"))]
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


class FeatureCache:
    """Frozen work on one set of images, by way of the cache."""

    def __init__(self, images: DecodedImages, config: Config, cache: Cache):
        self._images, self._config, self._cache = images, config, cache

    def fits_budget(self, part: FrozenPart, count: int) -> bool:
        """Whether `part` computes anything, and its results for `count` images and views fit into the cache's budget; says so if not."""
        if part.empty:
            return False
        budget = self._config.hardware.feature_cache_gib
        depends = self._source(None, 0) | {"part": part.digest}
        if self._cache.fits(KIND, depends, count, part.shape, part.dtype, budget):
            return True
        log.warning(
            "What the frozen part computes would take %.1f GiB for %d images and views of %s %s each, more than hardware.feature_cache_gib=%g or the "
            "disk's free space, or cache_folder can't be written to; it is computed again where it is needed",
            rows_bytes(count, part.shape, part.dtype) / GIB, count, "x".join(map(str, part.shape)), part.dtype, budget,
        )  # fmt: skip
        return False

    def images(self, places: np.ndarray) -> ImageInputs:
        """The images at `places` themselves, in any view."""
        return ImageInputs(self._images, places, self._views(places))

    def kept(
        self, part: FrozenPart, places: np.ndarray, views: int, title: str, intermediate: FrozenPart | None = None
    ) -> FeatureInputs:
        """What `part` makes of them; computed by way of `intermediate`, a part below, whose own results are kept too."""
        kept, drawn = [], self._views(places)
        for view in range(views):
            # The plain one of all images of the set, so that experiments which divide it otherwise share it.
            chosen = places if view else np.arange(len(self._images))
            images = ImageInputs(self._images, chosen, [drawn[view]])
            named = f"{title}, view {view} of {views - 1}" if view else title
            for each in filter(None, (intermediate, part)):
                rows = self._rows(each, images, len(chosen), self._source(places, view), named)
            kept.append((rows, np.arange(len(places)) if view else places))
        return FeatureInputs(kept)

    def _views(self, places: np.ndarray) -> Views:
        return Views(self._config.augment, len(places), self._images.size, self._config.seed)

    def _source(self, places: np.ndarray | None, view: int) -> dict[str, Any]:
        """All that frozen work depends on but for the frozen part itself."""
        config = self._config
        source = {
            **self._images.depends,
            "backbone": config.backbone.constructor,
            "preprocessing": config.backbone.preprocessing,
            "batch_size": config.hardware.frozen_batch_size,
            "deterministic": config.hardware.deterministic,
            "machine": description(),
            "code": _code(),
            "view": view,
        }
        if view:
            source["places"] = hashlib.sha256(places.tobytes()).hexdigest()
            source["augment"] = asdict(config.augment) | dict.fromkeys(("name", "views", "mixup", "cutmix"))
            source["seed"] = config.seed
        return source

    def _rows(self, part: FrozenPart, images: Inputs, count: int, source: dict[str, Any], title: str) -> Rows:
        """The entry with the frozen part's outputs; one that is missing is computed from the highest place below that is there."""

        def build(append: Append) -> None:
            for digest, make_lower in part.below():
                if self._cache.has(KIND, source | {"part": digest}):
                    lower = make_lower()
                    kept = FeatureInputs([(self._rows(lower, images, count, source, title), np.arange(count))])
                    return self._compute(kept, part.continue_from(lower), count, append, title)
            return self._compute(images, part.from_pixels, count, append, title)

        return self._cache.rows(KIND, source | {"part": part.digest}, part.shape, part.dtype, build)

    def _compute(self, inputs: Inputs, infer: Callable, count: int, append: Append, title: str) -> None:
        size = self._config.hardware.frozen_batch_size
        with progress(title, count) as advance:
            for batch, _ in batches(inputs, np.zeros(count, np.int64), 1, size, in_order(count)):
                append(infer(batch).numpy())
                advance(len(batch))
