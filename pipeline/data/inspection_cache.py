"""What reading each image's file gave, kept in the cache: a file is read again when its size or its time of change is another one."""

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

from pipeline.data.perceptual_hash import HASH_BYTES
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
"""Of a file: bytes and time of change (ns) when it was read; why it is no image, if so; what it shows (`pipeline.data.inspection`)."""
_DTYPES = {"INTEGER": "Int64", "REAL": "float64"}
_AT_ONCE = 10_000
# Seconds to wait for another process that writes, on a share that may be slow; the system lets go of the locks of one that dies.
_PATIENCE = 3600


class InspectionCache:
    """A data set's readings by one reader, in an SQLite file; what was written before an interruption stays."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database

    @classmethod
    @contextmanager
    def open(cls, cache_folder: Path, image_folder: Path, reader: str) -> Iterator["InspectionCache"]:
        """The readings of the files below `image_folder`; `reader` names all that they depend on beside the files.

        From a cache that can't be written to they are taken into memory, and what is added is forgotten.

        Raises:
            OSError: the disk is full.
        """
        name = hashlib.sha256(f"{image_folder}\0{reader}".encode(errors="surrogateescape")).hexdigest()[:32]
        file = cache_folder / "readings" / f"{name}.sqlite"
        with closing(_connect(file) if is_writable(file.parent) else _copy(file)) as database, _full_disk_named(file):
            # Lost with the machine's power, not with the process: then the files are read again.
            database.execute("PRAGMA synchronous = OFF")
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            database.execute(f"CREATE TABLE IF NOT EXISTS readings ({columns}) WITHOUT ROWID")
            yield cls(database)

    def known(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of each file as it was read, by path."""
        rows = self._database.execute("SELECT path, size, changed FROM readings")
        return {path: (size, changed) for path, size, changed in rows}

    def add(self, rows: Iterable[Sequence]) -> None:
        """Write rows of COLUMNS, all or none."""
        with self._database:
            places = ", ".join("?" * len(COLUMNS))
            self._database.executemany(f"INSERT OR REPLACE INTO readings VALUES ({places})", rows)

    def table(self, paths: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """The readings of files that are known, in the order of `paths`.

        Returns:
            (table, hashes, mirrored): COLUMNS but for the two hashes, and these as uint8 [n, HASH_BYTES]; zeros for what is no image.
        """
        plain = [name for name in COLUMNS if name not in ("hash", "mirrored")]
        dtypes = {name: _DTYPES.get(COLUMNS[name], "str") for name in plain}
        cursor = self._database.execute(f"SELECT {', '.join(plain)}, hash, mirrored FROM readings")
        parts, bits = [], []
        none = bytes(HASH_BYTES)
        while rows := cursor.fetchmany(_AT_ONCE):
            *columns, hashes, mirrored = zip(*rows, strict=True)
            parts.append(pd.DataFrame(dict(zip(plain, columns, strict=True))).astype(dtypes))
            joined = b"".join(
                part for pair in zip(hashes, mirrored, strict=True) for part in (pair[0] or none, pair[1] or none)
            )
            bits.append(np.frombuffer(joined, np.uint8).reshape(-1, 2, HASH_BYTES))
        table = pd.concat(parts, ignore_index=True)
        order = pd.Index(table["path"]).get_indexer(pd.Index(paths))
        found = np.concatenate(bits)[order]
        return table.iloc[order].reset_index(drop=True), found[:, 0], found[:, 1]


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not _sound(file):
        log.warning("%s is damaged; the images are read again", file)
        file.unlink()
    return sqlite3.connect(file, timeout=_PATIENCE)


def _copy(file: Path) -> sqlite3.Connection:
    """What a file holds that may only be read, in memory; nothing where it is not there or damaged."""
    memory = sqlite3.connect(":memory:")
    if file.exists() and _sound(file):
        # Nobody changes it here, and there can be no lock.
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?immutable=1", uri=True)) as kept:
            kept.backup(memory)
    return memory


@contextmanager
def _full_disk_named(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error


def _sound(file: Path) -> bool:
    """Whether a file is a whole database, or is not there."""
    if not file.exists():
        return True
    try:
        with closing(sqlite3.connect(file, timeout=_PATIENCE)) as database:
            return database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError:  # Another process has it.
        return True
    except sqlite3.DatabaseError:
        return False
