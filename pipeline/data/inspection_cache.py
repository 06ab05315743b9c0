"""Cached results of inspecting image files; a file is read again when its size or time of change differs."""

import errno
import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.duplicates import HASH_BYTES
from pipeline.storage.files import is_writable

log = logging.getLogger(__name__)

COLUMNS = {
    "path": "TEXT PRIMARY KEY",
    "size": "INTEGER",
    "changed": "INTEGER",
    "sha256": "TEXT",
    "reason": "TEXT",
    "width": "INTEGER",
    "height": "INTEGER",
    "format": "TEXT",
    "orientation": "INTEGER",
    "brightness": "REAL",
    "contrast": "REAL",
    "saturation": "REAL",
    "detail": "REAL",
    "hash": "BLOB",
    "mirrored": "BLOB",
}
"""Columns of a file's row: size in bytes and time of change in ns when it was read, reason why it is not an image, and
the results of `pipeline.data.inspection`."""
_DTYPES = {"INTEGER": "Int64", "REAL": "float64"}
_CHUNK = 10_000
# Seconds to wait for another process that writes, on a network share that may be slow.
_LOCK_TIMEOUT = 3600


class InspectionCache:
    """Results of inspecting a data set, in an SQLite file; rows written before an interruption stay."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database

    @classmethod
    @contextmanager
    def open(cls, cache_folder: Path, image_folder: Path, fingerprint: str) -> Iterator["InspectionCache"]:
        """Open the results for the files below `image_folder`.

        A cache that can't be written to is copied into memory, and added rows are lost.

        Args:
            cache_folder: the cache.
            image_folder: folder that the images' paths start from.
            fingerprint: everything that the results depend on, besides the files.

        Raises:
            OSError: the disk is full.
        """
        name = hashlib.sha256(f"{image_folder}\0{fingerprint}".encode(errors="surrogateescape")).hexdigest()[:32]
        file = cache_folder / "readings" / f"{name}.sqlite"
        with closing(_connect(file) if is_writable(file.parent) else _copy(file)) as database:
            try:
                # A power failure may lose rows; then the files are read again.
                database.execute("PRAGMA synchronous = OFF")
                columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
                database.execute(f"CREATE TABLE IF NOT EXISTS readings ({columns}) WITHOUT ROWID")
                yield cls(database)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error

    def known(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change of each file when it was read, by path."""
        rows = self._database.execute("SELECT path, size, changed FROM readings")
        return {path: (size, changed) for path, size, changed in rows}

    def add(self, rows: Iterable[Sequence]) -> None:
        """Write rows of COLUMNS, all or none."""
        with self._database:
            places = ", ".join("?" * len(COLUMNS))
            self._database.executemany(f"INSERT OR REPLACE INTO readings VALUES ({places})", rows)

    def table(self, paths: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """Return the rows of known files, in the order of `paths`.

        Returns:
            (table, hashes, mirrored): COLUMNS without the two hashes, and these as uint8 [n, HASH_BYTES]; zeros for
            files that are not images.
        """
        plain = [name for name in COLUMNS if name not in ("hash", "mirrored")]
        dtypes = {name: _DTYPES.get(COLUMNS[name], "str") for name in plain}
        cursor = self._database.execute(f"SELECT {', '.join(plain)}, hash, mirrored FROM readings")
        parts, bits = [], []
        none = bytes(HASH_BYTES)
        while rows := cursor.fetchmany(_CHUNK):
            *columns, hashes, mirrored = zip(*rows, strict=True)
            parts.append(pd.DataFrame(dict(zip(plain, columns, strict=True))).astype(dtypes))
            joined = b"".join(
                part for pair in zip(hashes, mirrored, strict=True) for part in (pair[0] or none, pair[1] or none)
            )
            bits.append(np.frombuffer(joined, np.uint8).reshape(-1, 2, HASH_BYTES))
        table = pd.concat(parts, ignore_index=True)
        order = pd.Index(table["path"]).get_indexer(pd.Index(paths))
        ordered = np.concatenate(bits)[order]
        return table.iloc[order].reset_index(drop=True), ordered[:, 0], ordered[:, 1]


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not _is_intact(file):
        log.warning("%s is damaged; the images are read again", file)
        file.unlink()
    return sqlite3.connect(file, timeout=_LOCK_TIMEOUT)


def _copy(file: Path) -> sqlite3.Connection:
    """Copy a read-only file into memory; the copy is empty if the file is missing or damaged."""
    memory = sqlite3.connect(":memory:")
    if file.exists() and _is_intact(file):
        # Locks can't be written here, and are not needed, since nothing can change.
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?immutable=1", uri=True)) as stored:
            stored.backup(memory)
    return memory


def _is_intact(file: Path) -> bool:
    """Return whether a file is a complete database, or does not exist."""
    if not file.exists():
        return True
    try:
        with closing(sqlite3.connect(file, timeout=_LOCK_TIMEOUT)) as database:
            return database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError:  # Another process has locked it.
        return True
    except sqlite3.DatabaseError:
        return False
