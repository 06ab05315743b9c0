"""Named, verified arrays on disk, made once and shared by stages, jobs and processes: `python -m pipeline.cache` lists and prunes them."""

import argparse
import hashlib
import json
import logging
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes  # noqa: F401  (teaches NumPy the name bfloat16)
import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from pipeline.files import file_sha256, read_json, write_json

log = logging.getLogger(__name__)

GIB = 2**30
_ENTRY = "entry.json"
_SHARD_BYTES = 256 * 2**20
# Of what an entry depends on, what tells people which one it is.
_TOLD = ("backbone", "image_size", "view", "rows", "shape", "dtype")

Append = Callable[[np.ndarray], None]


class Rows:
    """An array [n, *shape] whose rows lie in memory-mapped shards."""

    def __init__(self, shards: list[np.ndarray], shape: tuple[int, ...], dtype: np.dtype):
        """`shards` hold the same number of rows each, but for the last one; as unsigned integers of the item's size, or bytes."""
        self.shape, self.dtype = shape, dtype
        self._shards = shards
        self._rows = len(shards[0]) if shards else 1

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The rows at `indices`, integer [b], in that order: [b, *shape]."""
        if len(self._shards) == 1:
            return self._shards[0][indices].view(self.dtype)
        shard_of, row_of = np.divmod(indices, self._rows)
        taken = np.empty((len(indices), *self.shape), self._shards[0].dtype)
        for shard in np.unique(shard_of):
            here = shard_of == shard
            taken[here] = self._shards[shard][row_of[here]]
        return taken.view(self.dtype)


@dataclass(frozen=True)
class Listed:
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
        """
        folder = self.folder / _name(kind, depends)
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
                _write(unfinished, {"kind": kind, **depends}, shape, np.dtype(dtype), build)
                unfinished.replace(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            return _open(folder, verify=False)

    def fits(
        self, kind: str, depends: dict[str, Any], count: int, shape: tuple[int, ...], dtype: str, gib: float
    ) -> bool:
        """Whether an entry of `count` rows takes at most `gib` GiB, and is there or has room on the disk."""
        needed = entry_bytes(count, shape, dtype)
        self.folder.mkdir(parents=True, exist_ok=True)
        return needed <= gib * GIB and (self.has(kind, depends) or needed <= shutil.disk_usage(self.folder).free)

    def listing(self) -> list[Listed]:
        """All entries, the one that was used last first."""
        found = []
        for file in self.folder.glob(f"*/{_ENTRY}"):
            try:
                holds = read_json(file)["holds"]
                size = sum(each.stat().st_size for each in file.parent.iterdir())
                found.append(Listed(file.parent, size, file.stat().st_mtime, holds))
            except (OSError, ValueError, KeyError):
                found.append(Listed(file.parent, 0, 0.0, {"kind": "damaged"}))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def prune(self, size: int) -> list[Listed]:
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


def entry_bytes(count: int, shape: tuple[int, ...], dtype: str) -> int:
    """What so many rows take."""
    return count * math.prod(shape) * np.dtype(dtype).itemsize


def _name(kind: str, depends: dict[str, Any]) -> str:
    return f"{kind}-{hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]}"


class _Writer:
    """Writes rows to shards, with their checksums."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype):
        self.folder, self.shape, self.dtype = folder, shape, dtype
        self.shards: list[dict[str, Any]] = []
        self._per_shard = max(1, _SHARD_BYTES // (math.prod(shape) * dtype.itemsize))
        self._file: BinaryIO | None = None

    def append(self, rows: np.ndarray) -> None:
        """The next rows, [b, *shape]."""
        if rows.shape[1:] != self.shape or rows.dtype != self.dtype:
            raise ValueError(f"rows {rows.dtype}{list(rows.shape[1:])} given, {self.dtype}{list(self.shape)} promised")
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
        """End the shard that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self.shards.append({"rows": self._count, "sha256": self._digest.hexdigest()})


def _write(
    folder: Path, holds: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype, build: Callable[[Append], None]
) -> None:
    with closing(_Writer(folder, shape, dtype)) as writer:
        build(writer.append)
    told = {
        "rows": sum(shard["rows"] for shard in writer.shards),
        "shape": "x".join(map(str, shape)),
        "dtype": dtype.name,
    }
    entry = {"holds": holds | told, "shape": list(shape), "dtype": dtype.name, "shards": writer.shards}
    write_json(folder / _ENTRY, entry)


def _open(folder: Path, verify: bool = True) -> Rows:
    """Raises OSError, ValueError or KeyError where the entry is not what was written."""
    entry = read_json(folder / _ENTRY)
    shape, dtype, shards = tuple(entry["shape"]), np.dtype(entry["dtype"]), entry["shards"]
    files = [_shard(folder, number) for number in range(len(shards))]
    if verify:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for file, shard, found in zip(files, shards, pool.map(file_sha256, files), strict=True):
                if found != shard["sha256"]:
                    raise ValueError(f"{file.name} has another checksum")
    os.utime(folder / _ENTRY)
    # NumPy gathers plain integers faster than types that it was taught.
    plain = np.dtype(f"u{dtype.itemsize}")
    mapped = [
        np.memmap(file, plain, "r", shape=(shard["rows"], *shape)) for file, shard in zip(files, shards, strict=True)
    ]
    return Rows(mapped, shape, dtype)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.bin"


def main() -> None:
    """List the cache, or prune it."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cache", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="instead of the configured cache_folder")
    parser.add_argument(
        "--prune", type=_bytes, metavar="SIZE", help="keep what was used last, up to e.g. 20GiB or 500MiB"
    )
    given = parser.parse_args()
    cache = Cache(given.folder or _configured_folder())
    if given.prune is not None:
        removed = cache.prune(given.prune)
        print(f"removed {len(removed)} of {decimal(sum(entry.size for entry in removed))}")
    entries = cache.listing()
    table = Table("holds", "what", "size", "last used", "entry", box=None)
    for entry in entries:
        holds = {name: value for name, value in entry.holds.items() if name in _TOLD and value}
        what = "  ".join(f"{name} {value}" for name, value in holds.items())
        used = timedelta(seconds=round(time.time() - entry.used))
        table.add_row(entry.holds["kind"], what, decimal(entry.size), f"{used} ago", entry.folder.name[-32:-24])
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    console.print(f"{count}, {decimal(sum(entry.size for entry in entries))}, in {cache.folder}")


def _configured_folder() -> Path:
    from pipeline.checkout import resolve
    from pipeline.composition import composed, with_params

    return resolve(composed(with_params([])).cache_folder)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([\d.]+)\s*(B|KiB|MiB|GiB|TiB)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; give a number and B, KiB, MiB, GiB or TiB, such as 20GiB"
        )
    return round(float(match[1]) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(match[2]))


if __name__ == "__main__":
    main()
