"""Results of stages, shared by all jobs that use one cache folder: each is computed once."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from pipeline.storage.files import file_sha256, files_below, is_writable, locked, read_json, whole_folder

log = logging.getLogger(__name__)

RUN = "run.json"
"""Origin of a result, and the size and sha256 of each of its files; written once with the result."""


class SharedResults:
    """The folder `stages/` of a cache: one folder per result, named by stage and key, whole or not there."""

    def __init__(self, cache: Path):
        self._folder = cache / "stages"

    @contextmanager
    def alone_with(self, stage: str, key: str) -> Iterator[None]:
        """Hold a result's lock: of two processes that need the same result, one computes it while the other waits.

        The operating system releases the lock of a process that dies.
        """
        waiting = f"{stage}: another process is computing the same result; waiting for it"
        # To what is read-only nobody can add; what is there took its place whole.
        with locked(self._folder / f".{stage}-{key}.lock", waiting) if is_writable(self._folder) else nullcontext():
            yield

    def take(self, stage: str, key: str, target: Path) -> bool:
        """Copy a result to `target`, if it is there and its files are as they were written.

        Returns:
            whether `target` now holds it.
        """
        source = self._folder / f"{stage}-{key}"
        if not (source / RUN).exists():
            return False
        if damaged := _damaged_files(source):
            log.warning("cache: %s has damaged files (%s); computing %s again", source, ", ".join(damaged), stage)
            with suppress(OSError):
                shutil.rmtree(source)
            return False
        with whole_folder(target) as unfinished:
            _copy_files(source, unfinished)
        log.info("%s: computed before; its result was taken from the cache", stage)
        return True

    def add(self, stage: str, key: str, source: Path) -> None:
        """Keep a copy of the result in `source`; a full disk or a read-only cache costs only the sharing."""
        if not is_writable(self._folder):
            return
        try:
            with whole_folder(self._folder / f"{stage}-{key}") as unfinished:
                _copy_files(source, unfinished)
        except OSError as error:
            log.warning("cache: the result of %s is not shared: %s", stage, error)


def _damaged_files(folder: Path) -> list[str]:
    """The files of a result that are missing, or not as run.json says."""
    try:
        files = read_json(folder / RUN)["files"].items()
    except (ValueError, KeyError):
        return [RUN]
    return [
        name for name, file in files if not (folder / name).exists() or file_sha256(folder / name) != file["sha256"]
    ]


def _copy_files(source: Path, target: Path) -> None:
    """Copy a folder's files into another one, sharing their blocks where the file system can.

    They are copies either way: an edit in one place changes no other.
    """
    for file in files_below(source):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "rb") as reading, open(place, "wb") as writing:
            try:
                left = os.fstat(reading.fileno()).st_size
                while left > 0 and (copied := os.copy_file_range(reading.fileno(), writing.fileno(), left)):
                    left -= copied
            except (OSError, AttributeError):
                # Two file systems, or a system that has no such call.
                reading.seek(0)
                writing.seek(0)
                shutil.copyfileobj(reading, writing)
