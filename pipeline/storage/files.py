"""Files and folders that are written completely or not at all, and locks between processes."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

Json = dict[str, Any]
"""A JSON object."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder to write into, which replaces `folder` when the block ends; an error discards it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        if folder.exists():
            # A rename can't replace a folder that is not empty.
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.replace(old)
            unfinished.replace(folder)
            shutil.rmtree(old)
        else:
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` when the block ends; an error discards it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o644)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def locked(file: Path, waiting: str) -> Iterator[None]:
    """Hold a lock file, which the system releases if the process dies; `waiting` is logged where another one has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        log.info(waiting)
        held = lock.acquire()
    with held:
        yield


def is_writable(folder: Path) -> bool:
    """Return whether files can be created in a folder, or in its nearest existing parent; also correct for root."""
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON, with keys in their order, completely or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and its sub-folders, sorted, without compiled modules."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.parent.name != "__pycache__")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(file: str) -> tuple[int, int]:
    """Return size in bytes and time of change in ns, by which a changed file is noticed; -1, -1 if unreadable."""
    try:
        status = os.stat(file)
        return status.st_size, status.st_mtime_ns
    except OSError:
        return -1, -1
