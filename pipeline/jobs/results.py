"""Stage results in the cache folder, shared by all jobs so that each result is computed once."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from pipeline.storage.entries import Entry, unfinished
from pipeline.storage.files import Json, file_sha256, files_below, is_writable, locked, read_json, whole_folder

log = logging.getLogger(__name__)

RUN = "run.json"
"""Name of the file with the origin of a result, and the size and sha256 of each of its files."""


def read_result(folder: Path, key: str) -> Json | None:
    """Return the content of run.json in a result's folder; None if the result is incomplete or has another key."""
    try:
        state: Json = read_json(folder / RUN)
        if state["stage_key"] != key:
            return None
        files = state["files"].items()
        truncated = [name for name, file in files if (folder / name).stat().st_size != file["bytes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if truncated:
        log.warning("%s has missing or truncated files (%s); running the stage again", folder, ", ".join(truncated))
        return None
    return state


def resume_folder(cache: Path, stage: str, key: str) -> Path:
    """Return the folder of a training's checkpoints in the cache."""
    return cache / f"resume-{stage}-{key}"


def result_name(stage: str, key: str) -> str:
    """Return the name of a result's folder in the cache."""
    return f"{stage}-{key}"


class SharedResults:
    """Folder `stages/` of the cache, with one complete folder per result, named by stage and key."""

    def __init__(self, cache: Path):
        self._folder = cache / "stages"

    @contextmanager
    def alone_with(self, stage: str, key: str) -> Iterator[None]:
        """Hold the lock of a result, so that one process computes it while others wait.

        The operating system releases the lock if the process dies.
        """
        waiting = f"{stage}: another process is computing the same result; waiting for it"
        # A read-only cache needs no lock: no process can add to it, and all its results are complete.
        with locked(self.lock(stage, key), waiting) if is_writable(self._folder) else nullcontext():
            yield

    def folder(self, stage: str, key: str) -> Path:
        """Return the folder of a result, which exists only if the result is complete."""
        return self._folder / result_name(stage, key)

    def lock(self, stage: str, key: str) -> Path:
        """Return the lock file of a result."""
        return self._folder / f".{result_name(stage, key)}.lock"

    def take(self, stage: str, key: str, target: Path) -> bool:
        """Copy a result from the cache to `target`, if it exists and no file is damaged.

        Returns:
            True if the result was copied.
        """
        source = self.folder(stage, key)
        if not (source / RUN).exists():
            return False
        if damaged := _damaged_files(source):
            log.warning("cache: %s has damaged files (%s); computing %s again", source, ", ".join(damaged), stage)
            with suppress(OSError):
                shutil.rmtree(source)
            return False
        with whole_folder(target) as unfinished:
            _copy_files(source, unfinished)
        # The time of use can't be set if the result is read-only or belongs to another user.
        with suppress(OSError):
            os.utime(source / RUN)
        log.info("%s: result copied from the cache", stage)
        return True

    def add(self, stage: str, key: str, source: Path) -> None:
        """Copy the result in `source` to the cache, unless the disk is full or the cache is read-only."""
        if not is_writable(self._folder):
            return
        try:
            with whole_folder(self.folder(stage, key)) as unfinished:
                _copy_files(source, unfinished)
        except OSError as error:
            log.warning("cache: the result of %s could not be added: %s", stage, error)

    def listing(self) -> list[Entry]:
        """Return all results, and those that are unfinished."""
        entries = unfinished(self._folder)
        for file in self._folder.glob(f"[!.]*/{RUN}"):
            stage, key = file.parent.name.split("-", 1)
            try:
                made_by = read_json(file).get("made_by", "")
                holds = {"kind": "result", "stage": stage, "made_by": made_by}
            except (OSError, ValueError, AttributeError):
                holds = {"kind": "damaged"}
            entries.append(Entry.of(file.parent, self.lock(stage, key), file, holds))
        return entries


def _damaged_files(folder: Path) -> list[str]:
    """Return the files of a result that are missing, or whose sha256 differs from that in run.json."""
    try:
        files = read_json(folder / RUN)["files"].items()
    except (ValueError, KeyError):
        return [RUN]
    return [
        name for name, file in files if not (folder / name).exists() or file_sha256(folder / name) != file["sha256"]
    ]


def _copy_files(source: Path, target: Path) -> None:
    """Copy the files of a folder into another one, sharing disk blocks if the file system supports it.

    Changing a file never changes its copy.
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
                # The folders are on two file systems, or the operating system has no such call.
                reading.seek(0)
                writing.seek(0)
                shutil.copyfileobj(reading, writing)
