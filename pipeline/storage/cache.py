"""Verified arrays on disk, built once and shared by stages, jobs and processes."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.storage.files import Json, is_writable, locked, read_json, whole_folder, write_json
from pipeline.storage.shards import Append, Rows, open_shards, rows_bytes, write_shards
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)

GIB = 2**30
"""Bytes of a GiB."""
_ENTRY = "entry.json"


@dataclass(frozen=True)
class CacheEntry:
    """An entry as `python -m pipeline.cache` lists it."""

    folder: Path
    """Folder of its files."""
    size: int
    """Size in bytes."""
    used: float
    """Time of the last use, in seconds since the epoch."""
    holds: Json
    """Its kind, what it depends on, and its number, shape and type of rows."""


class Cache:
    """A folder of entries, each named by the sha256 of everything that it depends on.

    Deleting it costs time and nothing else.
    """

    def __init__(self, folder: Path):
        """`folder`: created when the first entry is built."""
        self.folder = folder

    def has(self, kind: str, depends: Json) -> bool:
        """Return whether an entry exists, intact or damaged."""
        return (self.folder / _name(kind, depends) / _ENTRY).exists()

    def rows(
        self, kind: str, depends: Json, *, shape: tuple[int, ...], dtype: str, build: Callable[[Append], None]
    ) -> Rows:
        """Return the rows of an entry, which is built if necessary, by one process while others wait.

        Args:
            kind: a word for the rows.
            depends: everything that their values depend on, as JSON content.
            shape: shape of a row.
            dtype: name of an item's type.
            build: called with a function that appends rows in order, arrays [b, *shape].

        Raises:
            PipelineError: the cache can't be written to, and has no intact entry.
        """
        folder = self.folder / _name(kind, depends)
        if not is_writable(self.folder):
            # No lock can be written, and none is needed, since entries appear complete.
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
                    log.warning("cache: the %s in %s are damaged (%s) and built again", kind, folder, error)
                    shutil.rmtree(folder)
            for leftover in self.folder.glob(f".{folder.name}-*"):
                # Left by a builder that was killed.
                shutil.rmtree(leftover)
            with whole_folder(folder) as unfinished:
                shards = write_shards(unfinished, shape, dtype, build)
                count = sum(shard["rows"] for shard in shards)
                holds = {"kind": kind, **depends, "rows": count, "shape": "x".join(map(str, shape)), "dtype": dtype}
                entry = {"holds": holds, "shape": list(shape), "dtype": dtype, "shards": shards}
                write_json(unfinished / _ENTRY, entry)
            return _open(folder, verify=False)

    def fits(self, kind: str, depends: Json, *, count: int, shape: tuple[int, ...], dtype: str, gib: float) -> bool:
        """Return whether an entry is within `gib` GiB, and exists or can be written to the disk.

        Args:
            kind: as for `rows`.
            depends: as for `rows`.
            count: number of rows.
            shape: as for `rows`.
            dtype: as for `rows`.
            gib: largest size in GiB.
        """
        needed = rows_bytes(count, shape, dtype)
        if needed > gib * GIB or self.has(kind, depends):
            return needed <= gib * GIB
        if not is_writable(self.folder):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        return needed <= shutil.disk_usage(self.folder).free

    def listing(self) -> list[CacheEntry]:
        """Return all entries, the most recently used first."""
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
        """Remove the least recently used entries until all are within `size` bytes; those being built or opened stay.

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
                    # Processes that have it mapped keep their data.
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
        OSError, ValueError, KeyError: it is damaged or missing.
    """
    entry = read_json(folder / _ENTRY)
    rows = open_shards(folder, tuple(entry["shape"]), entry["dtype"], entry["shards"], verify=verify)
    # The time of use can't be set on a read-only entry, or one of another user.
    with suppress(OSError):
        os.utime(folder / _ENTRY)
    return rows
