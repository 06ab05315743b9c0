"""Frozen work: what the frozen part of a classifier makes of each picture, computed once and kept in the cache."""

import functools
import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from pipeline.cache import GIB, Cache
from pipeline.checkout import CODE
from pipeline.config import Config
from pipeline.data.batches import FeatureInputs, Inputs, PictureInputs, batches, in_order
from pipeline.data.pictures import Pictures
from pipeline.data.views import Views
from pipeline.files import file_sha256
from pipeline.hardware import description
from pipeline.models.parts import FrozenPart
from pipeline.shards import Append, Rows, rows_bytes
from pipeline.terminal import progress

log = logging.getLogger(__name__)

KIND = "frozen"


@functools.cache
def _code() -> str:
    """sha256 over the modules that make pictures into numbers."""
    files = [file for folder in ("data", "models") for file in sorted((CODE / "pipeline" / folder).glob("*.py"))]
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


class FrozenWork:
    """Frozen work on one set of pictures, by way of the cache."""

    def __init__(self, pictures: Pictures, config: Config, cache: Cache):
        self._pictures, self._config, self._cache = pictures, config, cache

    def worth_keeping(self, part: FrozenPart, count: int) -> bool:
        """Whether `part` computes anything, and its results for `count` pictures and views fit into the cache's budget; says so if not."""
        if part.empty:
            return False
        budget = self._config.hardware.feature_cache_gib
        depends = self._source(None, 0) | {"part": part.digest}
        if self._cache.fits(KIND, depends, count, part.shape, part.dtype, budget):
            return True
        log.warning(
            "What the frozen part computes would take %.1f GiB for %d pictures and views of %s %s each, more than hardware.feature_cache_gib=%g or the "
            "disk's free space, or cache_folder can't be written to; it is computed again where it is needed",
            rows_bytes(count, part.shape, part.dtype) / GIB, count, "x".join(map(str, part.shape)), part.dtype, budget,
        )  # fmt: skip
        return False

    def pictures(self, places: np.ndarray) -> PictureInputs:
        """The pictures at `places` themselves, in any view."""
        return PictureInputs(self._pictures, places, self._views(places))

    def kept(
        self, part: FrozenPart, places: np.ndarray, views: int, title: str, waypoint: FrozenPart | None = None
    ) -> FeatureInputs:
        """What `part` makes of them; computed by way of `waypoint`, a part below, whose own results are kept too."""
        kept, drawn = [], self._views(places)
        for view in range(views):
            # The plain one of all pictures of the set, so that experiments which divide it otherwise share it.
            chosen = places if view else np.arange(len(self._pictures))
            pictures = PictureInputs(self._pictures, chosen, [drawn[view]])
            named = f"{title}, view {view} of {views - 1}" if view else title
            for each in filter(None, (waypoint, part)):
                rows = self._rows(each, pictures, len(chosen), self._source(places, view), named)
            kept.append((rows, np.arange(len(places)) if view else places))
        return FeatureInputs(kept)

    def _views(self, places: np.ndarray) -> Views:
        return Views(self._config.augment, len(places), self._pictures.size, self._config.seed)

    def _source(self, places: np.ndarray | None, view: int) -> dict[str, Any]:
        """All that frozen work depends on but for the frozen part itself."""
        config = self._config
        source = {
            **self._pictures.depends,
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

    def _rows(self, part: FrozenPart, pictures: Inputs, count: int, source: dict[str, Any], title: str) -> Rows:
        """The entry with the frozen part's outputs; one that is missing is computed from the highest place below that is there."""

        def build(append: Append) -> None:
            for digest, make_lower in part.below():
                if self._cache.has(KIND, source | {"part": digest}):
                    lower = make_lower()
                    kept = FeatureInputs([(self._rows(lower, pictures, count, source, title), np.arange(count))])
                    return self._compute(kept, part.way_from(lower), count, append, title)
            return self._compute(pictures, part.from_pixels, count, append, title)

        return self._cache.rows(KIND, source | {"part": part.digest}, part.shape, part.dtype, build)

    def _compute(self, inputs: Inputs, infer: Callable, count: int, append: Append, title: str) -> None:
        size = self._config.hardware.frozen_batch_size
        with progress(title, count) as advance:
            for batch, _ in batches(inputs, np.zeros(count, np.int64), 1, size, in_order(count)):
                append(infer(batch).numpy())
                advance(len(batch))


class FrozenBelow(keras.Model):
    """A network in training whose lower part is frozen, and computed anew for each batch."""

    def __init__(self, frozen: FrozenPart, trainable: keras.Model):
        super().__init__()
        self.frozen = frozen.from_pixels
        self.trainable_part = trainable
        # There is nothing that Keras could build by calling it.
        self.built = True

    def call(self, inputs, training=None):
        return self.trainable_part(self.frozen(inputs), training=training)


class AtTwoSizes(keras.Model):
    """A network that learns at one size of pictures and is validated at another: two that share their weights."""

    def __init__(self, learning: keras.Model, validated: keras.Model):
        super().__init__()
        self.learning, self.validated = learning, validated
        self.built = True

    def call(self, inputs, training=None):
        return (self.learning if training else self.validated)(inputs, training=training)
