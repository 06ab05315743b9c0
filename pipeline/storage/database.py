"""SQLite tables in the cache: shared by processes, created again if damaged, and copied into memory if read-only."""

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from pipeline.storage.files import is_writable

log = logging.getLogger(__name__)

# Seconds to wait for another process that writes, on a network share that may be slow.
_LOCK_TIMEOUT = 3600


def sqlite_address(file: Path) -> str:
    """Return the address of a database file for SQLAlchemy, which MLflow and Optuna use, such as sqlite:////a/b.db."""
    path = str(file)
    if set(path) & set("%?#"):
        # SQLAlchemy reads these characters as parts of an address. MLflow creates the parent folder of the address as
        # it is written: without a slash in it, that is the working folder.
        path = quote(path, safe="")
    return f"sqlite:///{path}"


@contextmanager
def open_table(
    file: Path, table: str, columns: Mapping[str, str], *, write: bool = True
) -> Iterator[sqlite3.Connection]:
    """Open the database `file`, and create its table if necessary.

    A database that can't or must not be written to is copied into memory, and added rows are lost.

    Args:
        file: Database file.
        table: Name of its one table.
        columns: SQL types by column name, such as `TEXT PRIMARY KEY`.
        write: Whether the file may be created and changed.

    Raises:
        OSError: The disk is full.
    """
    with closing(_connect(file) if write and is_writable(file.parent) else _copy(file)) as database:
        try:
            # A power failure may lose rows, which are then computed again.
            database.execute("PRAGMA synchronous = OFF")
            definitions = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({definitions}) WITHOUT ROWID")
            yield database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not _is_intact(file):
        log.warning("%s is damaged; the images are read again", file)
        file.unlink()
    return sqlite3.connect(file, timeout=_LOCK_TIMEOUT)


def _copy(file: Path) -> sqlite3.Connection:
    """Copy a read-only database into memory; the copy is empty if the file is missing or damaged."""
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
