"""Cache of arrays on disk with checksums, built once and shared by stages, jobs and processes."""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.storage.entries import Entry, unfinished
from pipeline.storage.files import Json, is_writable, locked, read_json, whole_folder, write_json
from pipeline.storage.shards import Append, Rows, open_shards, rows_bytes, write_shards
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)

GIB = 2**30
"""Number of bytes in a GiB."""
_ENTRY = "entry.json"


class Cache:
    """Folder of cache entries, each named by the sha256 of all values that it depends on.

    Deleting the folder loses no results; its entries are built again when needed.
    """

    def __init__(self, folder: Path, made_by: str = ""):
        """Open the cache in `folder`, which is created when the first entry is built.

        Args:
            folder: Folder of the entries.
            made_by: Name of the experiment that builds entries, for the list of `python -m pipeline.cache`.
        """
        self.folder, self._made_by = folder, made_by
        self.used: set[str] = set()
        """Names of the entries that were opened."""

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
                return self._open(folder)
            except (OSError, ValueError, KeyError) as error:
                raise PipelineError(
                    f"cache_folder: {self.folder} can't be written to, and the {kind} in {folder.name} are damaged or missing ({error}); "
                    "make it writable, or set another cache_folder"
                ) from error
        with locked(self._lock(folder.name), f"cache: waiting for another process that builds {folder.name}"):
            if folder.exists():
                try:
                    return self._open(folder)
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
                entry = {
                    "holds": holds,
                    "made_by": self._made_by,
                    "shape": list(shape),
                    "dtype": dtype,
                    "shards": shards,
                }
                write_json(unfinished / _ENTRY, entry)
            return self._open(folder, verify=False)

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

    def listing(self) -> list[Entry]:
        """Return all entries, also unfinished ones, with `made_by` in what they hold."""
        entries = unfinished(self.folder)
        for file in self.folder.glob(f"[!.]*/{_ENTRY}"):
            try:
                entry = read_json(file)
                holds = entry["holds"] | {"made_by": entry.get("made_by", "")}
            except (OSError, ValueError, KeyError, TypeError):
                holds = {"kind": "damaged"}
            entries.append(Entry.of(file.parent, self._lock(file.parent.name), file, holds))
        return entries

    def _open(self, folder: Path, *, verify: bool = True) -> Rows:
        """Open an entry.

        Raises:
            OSError, ValueError, KeyError: The entry is damaged or missing.
        """
        entry = read_json(folder / _ENTRY)
        rows = open_shards(folder, tuple(entry["shape"]), entry["dtype"], entry["shards"], verify=verify)
        self.used.add(folder.name)
        # The time of use can't be set if the entry is read-only or belongs to another user.
        with suppress(OSError):
            os.utime(folder / _ENTRY)
        return rows

    def _lock(self, name: str) -> Path:
        return self.folder / f".{name}.lock"


def _name(kind: str, depends: Json) -> str:
    return f"{kind}-{hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]}"
