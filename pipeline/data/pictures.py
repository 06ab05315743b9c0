"""Pictures as arrays, decoded once on all cores where memory allows."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.data.decoding import UndecodableError, pixels
from pipeline.errors import PipelineError
from pipeline.terminal import progress

GIB = 2**30
Item = TypeVar("Item")
Result = TypeVar("Result")


class Pictures:
    """Decoded pictures of one size; indexing with an integer array [b] gives uint8 RGB [b, size, size, 3]."""

    def __init__(self, folder: Path, paths: Sequence[str], size: int, memory_gib: float, title: str):
        """Decode all pictures now if they take at most `memory_gib` GiB; else each when it is asked for.

        Raises:
            PipelineError: a picture is gone or changed since it was prepared.
        """
        self.size = size
        self._files = [folder / path for path in paths]
        self._kept: np.ndarray | None = None
        if len(paths) * size * size * 3 <= memory_gib * GIB:
            kept = np.empty((len(paths), size, size, 3), np.uint8)
            with progress(title, len(paths)) as advance:
                for index, picture in enumerate(on_all_cores(self._read, self._files)):
                    kept[index] = picture
                    advance()
            self._kept = kept

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        if self._kept is not None:
            return self._kept[indices]
        return np.stack(list(on_all_cores(self._read, [self._files[index] for index in indices])))

    def _read(self, file: Path) -> np.ndarray:
        try:
            return pixels(file.read_bytes(), self.size)
        except (OSError, UndecodableError) as error:
            raise PipelineError(
                f"{file} could be read when the pictures were prepared, and can't now ({error}); run prepare again"
            ) from error


def on_all_cores(function, items: Iterable[Item], ahead: int = 256) -> Iterator[Result]:
    """`function` of each item, in order, on as many threads as cores; never more than `ahead` items under way.

    Threads suffice where the work releases the interpreter's lock, as Pillow's decoding and resizing do.
    """
    left = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(left, ahead)):
            yield from pool.map(function, batch)
