"""Pictures as arrays, decoded once on all cores."""

import functools
import hashlib
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from pipeline.cache import GIB, Cache
from pipeline.checkout import CODE
from pipeline.data.decoding import UndecodableError, pixels
from pipeline.errors import PipelineError
from pipeline.files import file_sha256
from pipeline.shards import Append, Rows, rows_bytes
from pipeline.terminal import progress

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pictures:
    """Pictures of a manifest as arrays of one size, decoded once: into the cache, as far as its budget goes."""

    def __init__(self, folder: Path, rows: pd.DataFrame, size: int, cache: Cache, budget_gib: float, title: str):
        """`rows` of a manifest: path and sha256 of each picture below `folder`; `size` in pixels.

        Raises:
            PipelineError: a picture is gone or changed since it was prepared.
        """
        self.size = size
        self._files = [folder / path for path in rows["path"]]
        self._sha256 = rows["sha256"].tolist()
        self.depends = {
            "pictures": hashlib.sha256("\n".join(self._sha256).encode()).hexdigest(),
            "image_size": size,
            "decoder": _decoder(),
        }
        """What the arrays are a function of."""
        shape = (size, size, 3)
        self._kept: Rows | None = None
        if cache.fits("pictures", self.depends, len(rows), shape, "uint8", budget_gib):
            self._kept = cache.rows(
                "pictures", self.depends, shape, "uint8", lambda append: self._decode(append, title)
            )
        else:
            log.warning(
                "%d decoded pictures take %.1f GiB, more than hardware.picture_cache_gib=%g or the disk's free space, or cache_folder can't be written to; "
                "each is decoded whenever it is needed",
                len(rows), rows_bytes(len(rows), shape, "uint8") / GIB, budget_gib,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._files)

    def take(self, places: np.ndarray) -> np.ndarray:
        """The pictures at `places`, integer [b], among the rows: uint8 RGB [b, size, size, 3]."""
        if self._kept is not None:
            return self._kept.take(places)
        return np.stack(list(on_all_cores(self._read, places)))

    def _decode(self, append: Append, title: str) -> None:
        with progress(title, len(self)) as advance:
            for picture in on_all_cores(self._read, range(len(self))):
                append(picture[np.newaxis])
                advance()

    def _read(self, place: int) -> np.ndarray:
        file = self._files[place]
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != self._sha256[place]:
                raise PipelineError(f"{file} has changed since the pictures were prepared; run prepare again")
            return pixels(data, self.size)
        except (OSError, UndecodableError) as error:
            raise PipelineError(
                f"{file} could be read when the pictures were prepared, and can't now ({error}); run prepare again"
            ) from error


@functools.cache
def _decoder() -> str:
    """What pixels are a function of, beside the file."""
    return f"{file_sha256(CODE / 'pipeline' / 'data' / 'decoding.py')} Pillow {version('Pillow')}"


def on_all_cores(function, items: Iterable[Item], ahead: int = 256) -> Iterator[Result]:
    """`function` of each item, in order, on as many threads as cores; never more than `ahead` items under way.

    Threads suffice where the work releases the interpreter's lock, as Pillow's decoding and resizing do.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        under_way = deque(pool.submit(function, item) for item in islice(left, ahead))
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(pool.submit(function, item) for item in islice(left, 1))
    finally:
        # Whoever stops listening, or is interrupted, does not wait for what has not begun.
        pool.shutdown(cancel_futures=True)
