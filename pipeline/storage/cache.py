"""Named, verified arrays on disk, built once and shared by stages, jobs and processes."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.storage.files import is_writable, read_json, write_json
from pipeline.storage.shards import Append, Rows, open_shards, rows_bytes, write_shards
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)

GIB = 2**30


_ENTRY = "entry.json"


@dataclass(frozen=True)
class CacheEntry:
    """An entry as `python -m pipeline.cache` shows it."""

    folder: Path
    size: int
    """Bytes."""
    used: float
    """When it was last opened, in seconds since the epoch."""
    holds: dict[str, Any]


class Cache:
    """A folder of entries. Each is named by the sha256 of all that it depends on; deleting it costs time and nothing else."""

    def __init__(self, folder: Path):
        self.folder = folder

    def has(self, kind: str, depends: dict[str, Any]) -> bool:
        """Whether there is an entry, whole or damaged."""
        return (self.folder / _name(kind, depends) / _ENTRY).exists()

    def rows(
        self, kind: str, depends: dict[str, Any], shape: tuple[int, ...], dtype: str, build: Callable[[Append], None]
    ) -> Rows:
        """The entry, built if it is not there, by one process while others that need it wait.

        Args:
            kind: what the rows are, in a word.
            depends: everything that their values depend on, as JSON takes it.
            shape: of a row.
            dtype: of an item, by NumPy's name.
            build: called with a function that takes the rows in order, arrays [b, *shape], a part at a time.

        Raises:
            PipelineError: the cache can't be written to, and holds no whole entry.
        """
        folder = self.folder / _name(kind, depends)
        if not is_writable(self.folder):
            return self._as_it_is(folder, kind)
        with self._locked(folder.name):
            if folder.exists():
                try:
                    return _open(folder)
                except (OSError, ValueError, KeyError) as error:
                    log.warning("cache: the %s in %s are damaged (%s); they are made again", kind, folder, error)
                    shutil.rmtree(folder)
            for leftover in self.folder.glob(f".{folder.name}-*"):
                # Of a builder that was killed.
                shutil.rmtree(leftover)
            unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=self.folder))
            try:
                _write(unfinished, {"kind": kind, **depends}, shape, dtype, build)
                unfinished.replace(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            return _open(folder, verify=False)

    def _as_it_is(self, folder: Path, kind: str) -> Rows:
        """An entry where nothing can be written, locks neither: it took its place whole, so that none is needed."""
        try:
            return _open(folder)
        except (OSError, ValueError, KeyError) as error:
            raise PipelineError(
                f"cache_folder: {self.folder} can't be written to, and the {kind} in {folder.name} are damaged or not there ({error}); "
                "let it be written to, or name another cache_folder"
            ) from error

    def fits(
        self, kind: str, depends: dict[str, Any], count: int, shape: tuple[int, ...], dtype: str, gib: float
    ) -> bool:
        """Whether an entry of `count` rows takes at most `gib` GiB, and is there or can be written and has room on the disk."""
        needed = rows_bytes(count, shape, dtype)
        if needed > gib * GIB or self.has(kind, depends):
            return needed <= gib * GIB
        if not is_writable(self.folder):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        return needed <= shutil.disk_usage(self.folder).free

    def listing(self) -> list[CacheEntry]:
        """All entries, the one that was used last first."""
        found = []
        for file in self.folder.glob(f"*/{_ENTRY}"):
            try:
                holds = read_json(file)["holds"]
                size = sum(each.stat().st_size for each in file.parent.iterdir())
                found.append(CacheEntry(file.parent, size, file.stat().st_mtime, holds))
            except (OSError, ValueError, KeyError):
                found.append(CacheEntry(file.parent, 0, 0.0, {"kind": "damaged"}))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def prune(self, size: int) -> list[CacheEntry]:
        """Remove the entries used longest ago until all take at most `size` bytes; those being made or opened stay.

        Returns:
            what was removed.
        """
        entries = self.listing()
        total, removed = sum(entry.size for entry in entries), []
        for entry in reversed(entries):
            if total <= size:
                break
            try:
                with FileLock(self._lock(entry.folder.name), timeout=0):
                    # Whoever has it mapped keeps what is mapped.
                    shutil.rmtree(entry.folder)
            except Timeout:
                continue
            total -= entry.size
            removed.append(entry)
        return removed

    def _lock(self, name: str) -> Path:
        return self.folder / f".{name}.lock"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Alone with an entry; the system lets go of the lock of a process that dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock(name))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("cache: another process is making %s; waiting for it", name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _name(kind: str, depends: dict[str, Any]) -> str:
    return f"{kind}-{hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]}"


def _write(
    folder: Path, holds: dict[str, Any], shape: tuple[int, ...], dtype: str, build: Callable[[Append], None]
) -> None:
    shards = write_shards(folder, shape, dtype, build)
    told = {"rows": sum(shard["rows"] for shard in shards), "shape": "x".join(map(str, shape)), "dtype": dtype}
    write_json(folder / _ENTRY, {"holds": holds | told, "shape": list(shape), "dtype": dtype, "shards": shards})


def _open(folder: Path, verify: bool = True) -> Rows:
    """Raises OSError, ValueError or KeyError where the entry is not what was written."""
    entry = read_json(folder / _ENTRY)
    rows = open_shards(folder, tuple(entry["shape"]), entry["dtype"], entry["shards"], verify)
    # Where it is somebody else's, or may only be read, it stays as it was used last.
    with suppress(OSError):
        os.utime(folder / _ENTRY)
    return rows
