"""Atomic writing of files and folders, and locks between processes."""

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
"""JSON object."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder to write to, which replaces `folder` at the end of the block, or is deleted after an error."""
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
    """Yield a new file to write to, which replaces `path` at the end of the block, or is deleted after an error."""
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
    """Hold a lock file within a block, and log the message `waiting` if another process holds it.

    The operating system releases the lock if the process dies.
    """
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
    """Return whether this process can create files in a folder, or in its nearest existing parent."""
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def write_json(path: Path, content: object) -> None:
    """Write `content` atomically as indented JSON, without sorting keys."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def files_below(folder: Path) -> list[Path]:
    """Return the sorted paths of all files in a folder and its sub-folders, without compiled Python modules."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.parent.name != "__pycache__")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return the sha256 of a file's content, or of the paths and contents of all files in a folder.

    Raises:
        OSError: The file or folder does not exist.
    """
    if not path.is_dir():
        return file_sha256(path)
    lines = (f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n" for file in files_below(path))
    return text_sha256("".join(lines))


def text_sha256(text: str) -> str:
    """Return the sha256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
