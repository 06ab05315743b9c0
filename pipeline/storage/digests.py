"""Content digests of many files, which are read only if the file system says that they have changed."""

import errno
import hashlib
import logging
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.storage.database import open_table
from pipeline.storage.files import file_sha256
from pipeline.system.machine import on_all_cores
from pipeline.system.terminal import progress

log = logging.getLogger(__name__)

# State of a file in the file system: size in bytes, modification time and change time in ns, inode number. An edit that
# keeps size and modification time still has another change time.
_STATE = {"size": "INTEGER", "modified": "INTEGER", "changed": "INTEGER", "inode": "INTEGER"}
_COLUMNS = {"path": "BLOB PRIMARY KEY", **_STATE, "sha256": "TEXT"}
# A file that was changed less than this before it is read may change again without another time of change.
_SETTLED_NS = 2 * 10**9
_CHUNK = 32

_State = tuple[int, int, int, int]


def file_digests(folder: Path, paths: Sequence[str], cache: Path, *, remember: bool = True) -> list[str]:
    """Return the sha256 of files, empty for those that can't be read.

    Digests depend on the files' content alone. Those that were computed before are remembered in the cache, with the
    state of the file at that time.

    Args:
        folder: Folder that the paths start from.
        paths: Relative paths of the files.
        cache: Cache folder; if it can't be written to, or is full, nothing new is remembered.
        remember: Whether to write new digests to the cache.
    """
    try:
        return _remembered(folder, paths, cache, remember=remember)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        log.warning("cache: digests of files are not remembered: %s", error)
        return list(on_all_cores(lambda path: _sha256(folder, path) if _state(folder, path) else "", paths))


def _remembered(folder: Path, paths: Sequence[str], cache: Path, *, remember: bool) -> list[str]:
    """Return digests as `file_digests` does; raises OSError if the disk of the cache is full."""
    name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]
    with open_table(cache / "digests" / f"{name}.sqlite", "digests", _COLUMNS, write=remember) as database:
        known = {
            path: (tuple(state), sha256)
            for path, *state, sha256 in database.execute(f"SELECT {', '.join(_COLUMNS)} FROM digests")
        }
        states = {path: _state(folder, path) for path in paths}
        digests, new = {}, []
        for path, state in states.items():
            before, sha256 = known.get(os.fsencode(path), (None, ""))
            if state is not None and state == before:
                digests[path] = sha256
            elif state is not None:
                new.append(path)
        del known
        chunks = [new[start : start + _CHUNK] for start in range(0, len(new), _CHUNK)]
        with progress("reading files", len(new)) as advance:
            for rows in on_all_cores(lambda chunk: [(path, _sha256(folder, path)) for path in chunk], chunks):
                digests |= dict(rows)
                settled = time.time_ns() - _SETTLED_NS
                with database:
                    database.executemany(
                        f"INSERT OR REPLACE INTO digests VALUES ({', '.join('?' * len(_COLUMNS))})",
                        [
                            (os.fsencode(path), *state, sha256)
                            for path, sha256 in rows
                            # A file that changed while it was read is read again the next time.
                            if sha256 and (state := states[path]) and max(state[1:3]) < settled
                            if state == _state(folder, path)
                        ],
                    )
                advance(len(rows))
    return [digests.get(path, "") for path in paths]


def _state(folder: Path, path: str) -> _State | None:
    """Return the state of a regular file; None for anything else, or if there is none."""
    try:
        status = os.stat(os.path.join(folder, path))
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _sha256(folder: Path, path: str) -> str:
    try:
        return file_sha256(folder / path)
    except OSError:
        return ""
