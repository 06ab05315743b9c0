"""Images as arrays, decoded once on all cores."""

import functools
import hashlib
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.inputs.decoding import UndecodableError, pixels
from pipeline.storage.cache import GIB, Cache
from pipeline.storage.files import file_sha256
from pipeline.storage.shards import Append, Rows, rows_bytes
from pipeline.system.errors import PipelineError
from pipeline.system.machine import on_all_cores
from pipeline.system.paths import CODE
from pipeline.system.terminal import progress

log = logging.getLogger(__name__)


class DecodedImages:
    """Images of a manifest as arrays of one size, decoded once: into the cache, as far as its budget goes."""

    def __init__(self, folder: Path, rows: pd.DataFrame, size: int, cache: Cache, budget_gib: float, title: str):
        """`rows` of a manifest: path and sha256 of each image below `folder`; `size` in pixels.

        Raises:
            PipelineError: an image is gone or changed since it was prepared.
        """
        self.size = size
        self._files = [folder / path for path in rows["path"]]
        self._sha256 = rows["sha256"].tolist()
        self.depends = {
            "images": hashlib.sha256("\n".join(self._sha256).encode()).hexdigest(),
            "image_size": size,
            "decoder": _decoder(),
        }
        """What the arrays are a function of."""
        shape = (size, size, 3)
        self._kept: Rows | None = None
        if cache.fits("images", self.depends, len(rows), shape, "uint8", budget_gib):
            self._kept = cache.rows("images", self.depends, shape, "uint8", lambda append: self._decode(append, title))
        else:
            log.warning(
                "%d decoded images take %.1f GiB, more than hardware.image_cache_gib=%g or the disk's free space, or cache_folder can't be written to; "
                "each is decoded whenever it is needed",
                len(rows), rows_bytes(len(rows), shape, "uint8") / GIB, budget_gib,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._files)

    def take(self, places: np.ndarray) -> np.ndarray:
        """The images at `places`, integer [b], among the rows: uint8 RGB [b, size, size, 3]."""
        if self._kept is not None:
            return self._kept.take(places)
        return np.stack(list(on_all_cores(self._read, places)))

    def _decode(self, append: Append, title: str) -> None:
        with progress(title, len(self)) as advance:
            for image in on_all_cores(self._read, range(len(self))):
                append(image[np.newaxis])
                advance()

    def _read(self, place: int) -> np.ndarray:
        file = self._files[place]
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != self._sha256[place]:
                raise PipelineError(f"{file} has changed since the images were prepared; run prepare again")
            return pixels(data, self.size)
        except (OSError, UndecodableError) as error:
            raise PipelineError(
                f"{file} could be read when the images were prepared, and can't now ({error}); run prepare again"
            ) from error


@functools.cache
def _decoder() -> str:
    """What pixels are a function of, beside the file."""
    return f"{file_sha256(CODE / 'pipeline' / 'inputs' / 'decoding.py')} Pillow {version('Pillow')}"
