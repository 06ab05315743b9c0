"""Decoded images of a manifest."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config.image import Decoding
from pipeline.inputs.decoding import UndecodableError, decoder_version, pixels
from pipeline.storage.cache import GIB, Cache
from pipeline.storage.files import Json
from pipeline.storage.shards import Append, Rows, rows_bytes
from pipeline.system.errors import PipelineError
from pipeline.system.machine import on_all_cores
from pipeline.system.terminal import progress

log = logging.getLogger(__name__)


KIND = "images"
"""Kind of the decoded images in the cache."""


def decoded_depends(sha256: Sequence[str], decoding: Decoding) -> Json:
    """Return everything that the arrays of images depend on.

    Args:
        sha256: sha256 of each image's file, in order.
        decoding: Decoding of the files.
    """
    images = hashlib.sha256("\n".join(sha256).encode()).hexdigest()
    settings = asdict(decoding)
    return {"images": images, "image_size": settings.pop("size"), **settings, "decoder": decoder_version()}


class DecodedImages:
    """Images as arrays of one size, decoded once into the cache, or on each use if they exceed the cache's budget."""

    def __init__(
        self, folder: Path, rows: pd.DataFrame, decoding: Decoding, cache: Cache, *, budget_gib: float, title: str
    ):
        """Decode the images, unless they are cached.

        Args:
            folder: Base folder of the images' paths.
            rows: Rows of a manifest, with path and sha256 of each image.
            decoding: Decoding of the files.
            cache: Cache for the decoded images.
            budget_gib: Largest size of the decoded images in the cache, in GiB.
            title: Title of the progress bar.

        Raises:
            PipelineError: An image is missing, or has changed since stage prepare ran.
        """
        self.size, self.shape, self._decoding = decoding.size, decoding.shape, decoding
        self._files = [folder / path for path in rows["path"]]
        self._sha256 = rows["sha256"].tolist()
        self.depends = decoded_depends(self._sha256, decoding)
        """Everything that the arrays depend on."""
        self._cached: Rows | None = None
        if cache.fits(KIND, self.depends, count=len(rows), shape=self.shape, dtype="uint8", gib=budget_gib):
            self._cached = cache.rows(
                KIND, self.depends, shape=self.shape, dtype="uint8", build=lambda append: self._decode(append, title)
            )
        else:
            log.warning(
                "Decoded images are not cached, so each is decoded whenever it is needed: %d images need %.1f GiB, but "
                "hardware.image_cache_gib is %g, or %s is full or read-only. Raise the limit or free disk space to cache them",
                len(rows), rows_bytes(len(rows), self.shape, "uint8") / GIB, budget_gib, cache.folder,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._files)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the RGB pixels, uint8 [b, h, w, 3], of the rows at `indices`, integer [b]."""
        if self._cached is not None:
            return self._cached.take(indices)
        return np.stack(list(on_all_cores(self._read, indices)))

    def _decode(self, append: Append, title: str) -> None:
        with progress(title, len(self)) as advance:
            for image in on_all_cores(self._read, range(len(self))):
                append(image[np.newaxis])
                advance()

    def _read(self, index: int) -> np.ndarray:
        file = self._files[index]
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != self._sha256[index]:
                raise PipelineError(f"{file} has changed since stage prepare ran; run prepare again")
            return pixels(data, self._decoding)
        except (OSError, UndecodableError) as error:
            raise PipelineError(f"{file} can't be read any more ({error}); run prepare again") from error
