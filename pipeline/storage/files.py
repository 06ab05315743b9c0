"""Files and folders that are written whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when the block ends; after an error it is gone and `folder` as before."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        if folder.exists():
            # A rename can't replace a folder that holds something.
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
    """A path to write to; the file takes its place at `path` when the block ends without an error."""
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


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the first one above it that is there; False on a read-only file system for root, too."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return os.access(there, os.W_OK | os.X_OK)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, keys in the given order, the file whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and its sub-folders, sorted; compiled modules are left out."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.parent.name != "__pycache__")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(file: str) -> tuple[int, int]:
    """Size in bytes and time of change in ns, by which a file is known again; -1, -1 where it can't be asked."""
    try:
        status = os.stat(file)
        return status.st_size, status.st_mtime_ns
    except OSError:
        return -1, -1
