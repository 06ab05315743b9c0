"""Cache of arrays on disk with checksums, built once and shared by stages, jobs and processes."""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from pipeline.storage.files import Json, is_writable, locked, read_json, whole_folder, write_json
from pipeline.storage.shards import Append, Rows, open_shards, rows_bytes, write_shards
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)

GIB = 2**30
"""Number of bytes in a GiB."""
_ENTRY = "entry.json"


@dataclass(frozen=True)
class CacheEntry:
    """Description of a cache entry, for the list of `python -m pipeline.cache`."""

    folder: Path
    """Folder of the entry's files."""
    size: int
    """Size in bytes."""
    used: float
    """Time of the last use, in seconds since the epoch."""
    holds: Json
    """Kind of the entry, values that it depends on, and number, shape and dtype of its rows."""


class Cache:
    """Folder of cache entries, each named by the sha256 of all values that it depends on.

    Deleting the folder loses no results; its entries are built again when needed.
    """

    def __init__(self, folder: Path):
        """Open the cache in `folder`, which is created when the first entry is built."""
        self.folder = folder

    def has(self, kind: str, depends: Json) -> bool:
        """Return whether an entry exists, without checking it for damage."""
        return (self.folder / _name(kind, depends) / _ENTRY).exists()

    def rows(
        self, kind: str, depends: Json, *, shape: tuple[int, ...], dtype: str, build: Callable[[Append], None]
    ) -> Rows:
        """Return the rows of an entry, which one process builds if necessary while others wait.

        Args:
            kind: Kind of the rows, in one word.
            depends: All values that the rows depend on, as JSON content.
            shape: Shape of a row.
            dtype: Name of the rows' dtype.
            build: Function called with a function that appends rows in order, as arrays [b, *shape].

        Raises:
            PipelineError: The cache can't be written to, and has no intact entry.
        """
        folder = self.folder / _name(kind, depends)
        if not is_writable(self.folder):
            # No lock can be created, and none is needed, since all entries are complete.
            try:
                return _open(folder)
            except (OSError, ValueError, KeyError) as error:
                raise PipelineError(
                    f"cache_folder: {self.folder} can't be written to, and the {kind} in {folder.name} are damaged or missing ({error}); "
                    "make it writable, or set another cache_folder"
                ) from error
        with locked(self._lock(folder.name), f"cache: waiting for another process that builds {folder.name}"):
            if folder.exists():
                try:
                    return _open(folder)
                except (OSError, ValueError, KeyError) as error:
                    log.warning("cache: the %s in %s are damaged (%s); building them again", kind, folder, error)
                    shutil.rmtree(folder)
            for leftover in self.folder.glob(f".{folder.name}-*"):
                # Left by a killed process.
                shutil.rmtree(leftover)
            with whole_folder(folder) as unfinished:
                shards = write_shards(unfinished, shape, dtype, build)
                count = sum(shard["rows"] for shard in shards)
                holds = {"kind": kind, **depends, "rows": count, "shape": "x".join(map(str, shape)), "dtype": dtype}
                entry = {"holds": holds, "shape": list(shape), "dtype": dtype, "shards": shards}
                write_json(unfinished / _ENTRY, entry)
            return _open(folder, verify=False)

    def array(
        self,
        kind: str,
        depends: Json,
        *,
        count: int,
        shape: tuple[int, ...],
        dtype: str,
        build: Callable[[Append], None],
    ) -> np.ndarray:
        """Return the rows of a small entry as an array [count, *shape]; they are also built if they can't be cached."""
        if self.fits(kind, depends, count=count, shape=shape, dtype=dtype, gib=math.inf):
            return self.rows(kind, depends, shape=shape, dtype=dtype, build=build).take(np.arange(count))
        parts: list[np.ndarray] = []
        build(parts.append)
        return np.concatenate(parts)

    def fits(self, kind: str, depends: Json, *, count: int, shape: tuple[int, ...], dtype: str, gib: float) -> bool:
        """Return whether an entry is not larger than `gib` GiB, and exists or fits on the disk.

        Args:
            kind: As for `rows`.
            depends: As for `rows`.
            count: Number of rows.
            shape: As for `rows`.
            dtype: As for `rows`.
            gib: Largest size in GiB.
        """
        needed = rows_bytes(count, shape, dtype)
        if needed > gib * GIB or self.has(kind, depends):
            return needed <= gib * GIB
        if not is_writable(self.folder):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        return needed <= shutil.disk_usage(self.folder).free

    def listing(self) -> list[CacheEntry]:
        """Return all entries, beginning with the most recently used."""
        entries = []
        for file in self.folder.glob(f"*/{_ENTRY}"):
            try:
                holds = read_json(file)["holds"]
                size = sum(each.stat().st_size for each in file.parent.iterdir())
                entries.append(CacheEntry(file.parent, size, file.stat().st_mtime, holds))
            except (OSError, ValueError, KeyError):
                entries.append(CacheEntry(file.parent, 0, 0.0, {"kind": "damaged"}))
        return sorted(entries, key=lambda entry: entry.used, reverse=True)

    def prune(self, size: int) -> list[CacheEntry]:
        """Remove the least recently used entries until the cache is not larger than `size` bytes.

        Entries that are being built or opened are not removed.

        Returns:
            The removed entries.
        """
        entries = self.listing()
        total, removed = sum(entry.size for entry in entries), []
        for entry in reversed(entries):
            if total <= size:
                break
            try:
                with FileLock(self._lock(entry.folder.name), timeout=0):
                    # Processes that have mapped its files into memory can still read them.
                    shutil.rmtree(entry.folder)
            except Timeout:
                continue
            total -= entry.size
            removed.append(entry)
        return removed

    def _lock(self, name: str) -> Path:
        return self.folder / f".{name}.lock"


def _name(kind: str, depends: Json) -> str:
    return f"{kind}-{hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]}"


def _open(folder: Path, *, verify: bool = True) -> Rows:
    """Open an entry.

    Raises:
        OSError, ValueError, KeyError: The entry is damaged or missing.
    """
    entry = read_json(folder / _ENTRY)
    rows = open_shards(folder, tuple(entry["shape"]), entry["dtype"], entry["shards"], verify=verify)
    # The time of use can't be set if the entry is read-only or belongs to another user.
    with suppress(OSError):
        os.utime(folder / _ENTRY)
    return rows
