"""Entries of the cache: folders with data that can be computed again. Their size, last use and removal."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.storage.files import Json


@dataclass(frozen=True)
class Entry:
    """Folder in the cache with data that can be computed again."""

    folder: Path
    lock: Path
    """Lock file that a process holds while it writes or opens the folder."""
    size: int
    """Size in bytes."""
    used: float
    """Time of the last use, in seconds since the epoch."""
    holds: Json
    """Description of the data: its `kind`, and further properties that depend on the kind."""

    @classmethod
    def of(cls, folder: Path, lock: Path, described_by: Path, holds: Json) -> "Entry":
        """Return an entry whose last use is the modification time of the file `described_by`."""
        try:
            used = described_by.stat().st_mtime
        except OSError:
            used = 0.0
        return cls(folder, lock, folder_size(folder), used, holds)

    def remove(self, *, dry_run: bool = False) -> bool:
        """Remove the folder, unless another process holds its lock.

        Args:
            dry_run: Only check the lock.

        Returns:
            True if the folder was removed, or would be in a dry run.
        """
        try:
            with FileLock(self.lock, timeout=0):
                if not dry_run and self.folder.exists():
                    # Processes that have mapped its files into memory can still read them.
                    shutil.rmtree(self.folder)
        except Timeout:
            return False
        return True


def unfinished(folder: Path) -> list[Entry]:
    """Return the unfinished entries in a folder: other processes write them, or were killed while they did."""
    found = []
    for each in folder.glob(".*-*"):
        if each.is_dir():
            # The last part of the name is random; see `pipeline.storage.files.whole_folder`.
            name = each.name[1:].rpartition("-")[0].removesuffix("-old")
            found.append(Entry.of(each, folder / f".{name}.lock", each, {"kind": "unfinished"}))
    return found


def folder_size(folder: Path) -> int:
    """Return the size in bytes of all files below a folder; 0 if it does not exist."""
    size = 0
    try:
        with os.scandir(folder) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    size += folder_size(Path(item.path))
                else:
                    size += item.stat(follow_symlinks=False).st_size
    except OSError:
        # Another process has removed the folder or a file.
        pass
    return size
