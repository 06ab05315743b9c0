"""Arrays in files of limited size (shards), written in batches of rows with checksums, and read as memory maps."""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, TypedDict

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np

from pipeline.storage.files import file_sha256

_SHARD_BYTES = 256 * 2**20
_ALIGNMENT = 64

Append = Callable[[np.ndarray], None]
"""Function that appends rows, an array [b, *shape]."""


class Shard(TypedDict):
    """Description of one file of rows."""

    rows: int
    """Number of rows in the file."""
    sha256: str
    """Checksum of the file, in hexadecimal."""


class Rows:
    """Array [n, *shape] whose rows are in memory-mapped shards."""

    def __init__(self, shards: Sequence[np.ndarray], shape: tuple[int, ...], dtype: np.dtype):
        """Create an array from open shards.

        Args:
            shards: Arrays of unsigned integers with the item size of `dtype`. All but the last have equally many rows.
            shape: Shape of a row.
            dtype: Data type of the rows.
        """
        self.shape, self.dtype = shape, dtype
        # Each access to a memory map creates another map object, which takes longer than copying a small row.
        self._shards = [shard.view(np.ndarray) for shard in shards]
        self._rows = len(shards[0]) if shards else 1

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the rows with the given indices, in their order.

        Args:
            indices: Indices of rows, integer [b].

        Returns:
            Array [b, *shape], aligned as TensorFlow needs it to use the array without a copy.

        Raises:
            IndexError: An index is negative or too large.
        """
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"indices from {indices.min()} to {indices.max()} of {len(self)} rows")
        taken = aligned_empty((len(indices), *self.shape), self.dtype)
        if len(self._shards) == 1:
            # Any mode but the default writes without a buffer between.
            np.take(self._shards[0], indices, axis=0, out=taken.view(self._shards[0].dtype), mode="clip")
        else:
            self.copy(indices, taken, np.arange(len(indices)))
        return taken

    def copy(self, indices: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        """Copy the rows with the given indices, integer [b], to `out[places]`, where `places` is integer [b]."""
        plain = out.view(self._shards[0].dtype)
        for index, place in zip(indices, places, strict=True):
            shard, row = divmod(index, self._rows)
            # NumPy lets other threads run while it copies a row.
            plain[place] = self._shards[shard][row]


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array without defined values, which begins at a multiple of 64 bytes.

    TensorFlow takes over the memory of such arrays from Python functions, and copies all others.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def rows_bytes(count: int, shape: tuple[int, ...], dtype: str) -> int:
    """Return the size of `count` rows in bytes."""
    return count * math.prod(shape) * np.dtype(dtype).itemsize


def write_shards(folder: Path, shape: tuple[int, ...], dtype: str, build: Callable[[Append], None]) -> list[Shard]:
    """Write the rows that `build` appends, as arrays [b, *shape], to files in `folder`.

    Returns:
        Number of rows and checksum of each file.
    """
    with closing(_Writer(folder, shape, np.dtype(dtype))) as writer:
        build(writer.append)
    return writer.shards


def open_shards(folder: Path, shape: tuple[int, ...], dtype: str, shards: list[Shard], *, verify: bool = True) -> Rows:
    """Open the rows that `write_shards` wrote.

    Args:
        folder: Folder of the files.
        shape: Shape of a row.
        dtype: Name of the rows' dtype.
        shards: Descriptions of the files, from `write_shards`.
        verify: Compare checksums, which reads all files once.

    Raises:
        OSError: A file is missing.
        ValueError: A file has changed.
    """
    files = [_shard(folder, number) for number in range(len(shards))]
    if verify:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for file, shard, sha256 in zip(files, shards, pool.map(file_sha256, files), strict=True):
                if sha256 != shard["sha256"]:
                    raise ValueError(f"{file.name} has a different checksum")
    # NumPy's indexing is faster for its own integers than for registered types such as bfloat16.
    plain = np.dtype(f"u{np.dtype(dtype).itemsize}")
    mapped = [
        np.memmap(file, plain, "r", shape=(shard["rows"], *shape)) for file, shard in zip(files, shards, strict=True)
    ]
    return Rows(mapped, shape, np.dtype(dtype))


class _Writer:
    """Writer of rows to shards, with checksums."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype):
        self.folder, self.shape, self.dtype = folder, shape, dtype
        self.shards: list[Shard] = []
        self._per_shard = max(1, _SHARD_BYTES // (math.prod(shape) * dtype.itemsize))
        self._file: BinaryIO | None = None

    def append(self, rows: np.ndarray) -> None:
        """Append rows, an array [b, *shape]."""
        if rows.shape[1:] != self.shape or rows.dtype != self.dtype:
            raise ValueError(
                f"rows have dtype and shape {rows.dtype}{list(rows.shape[1:])}; expected {self.dtype}{list(self.shape)}"
            )
        while len(rows):
            if self._file is None:
                self._file = open(_shard(self.folder, len(self.shards)), "wb")  # noqa: SIM115
                self._count, self._digest = 0, hashlib.sha256()
            space = self._per_shard - self._count
            part, rows = rows[:space], rows[space:]
            data = np.ascontiguousarray(part).view(np.uint8).data
            self._digest.update(data)
            self._file.write(data)
            self._count += len(part)
            if self._count == self._per_shard:
                self.close()

    def close(self) -> None:
        """Finish the current shard."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self.shards.append({"rows": self._count, "sha256": self._digest.hexdigest()})


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.bin"
