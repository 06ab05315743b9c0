"""Folders with the checkpoints of interrupted trainings, and the seconds that these have taken."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from pipeline.config import PHASES
from pipeline.jobs.identity import Experiment
from pipeline.jobs.results import SharedResults, resume_folder
from pipeline.storage.entries import Entry
from pipeline.storage.files import is_writable, read_json, write_json
from pipeline.system.paths import resolve

log = logging.getLogger(__name__)

# File beside the checkpoints with the name of the experiment.
_ABOUT = "about.json"
# File beside the checkpoints with the seconds of training up to the last epoch.
_SECONDS = "seconds.json"


def checkpoint_folder(stage: str, experiment: Experiment, key: str | None = None) -> Path:
    """Return the folder of a training's checkpoints, which is removed when the stage has finished.

    Args:
        stage: Name of the phase.
        experiment: Experiment that the stage belongs to.
        key: Key of the stage; None computes it.
    """
    return resume_folder(resolve(experiment.config.cache_folder), stage, key or experiment.stage_key(stage))


@contextmanager
def checkpoints(stage: str, key: str, experiment: Experiment, *, made_by: str) -> Iterator[Path | None]:
    """Yield the folder of a training's checkpoints, and remove it after the training.

    It is None for other stages, and if the cache is not writable.

    Args:
        stage: Name of the stage.
        key: Key of the stage.
        experiment: Experiment that the stage belongs to.
        made_by: Name of the experiment, for the list of `python -m pipeline.cache`.
    """
    if stage not in PHASES:
        yield None
        return
    folder = checkpoint_folder(stage, experiment, key)
    if not is_writable(folder.parent):
        log.warning("cache_folder: %s is not writable; %s can't be resumed if it is interrupted", folder.parent, stage)
        yield None
        return
    try:
        write_json(folder / _ABOUT, {"stage": stage, "made_by": made_by})
        yield folder
        shutil.rmtree(folder)
    finally:
        if not any(folder.glob("*.npz")):
            shutil.rmtree(folder, ignore_errors=True)


def listed_checkpoints(cache: Path) -> list[Entry]:
    """Return the checkpoints in a cache folder; the lock of a running training is that of its result."""
    entries, results = [], SharedResults(cache)
    for folder in cache.glob("resume-*-*"):
        stage, key = folder.name.removeprefix("resume-").split("-", 1)
        try:
            about = read_json(folder / _ABOUT)
        except (OSError, ValueError):
            about = {"stage": stage, "made_by": ""}
        # Each epoch adds a file to the folder, which sets its time.
        entries.append(Entry.of(folder, results.lock(stage, key), folder, {"kind": "checkpoint", **about}))
    return entries


def stopwatch(folder: Path | None) -> Callable[[], float]:
    """Return a function that returns the seconds of the stage so far, including earlier interrupted attempts."""
    file = folder / _SECONDS if folder else None
    before: float = read_json(file) if file and file.exists() else 0.0
    started = perf_counter()
    return lambda: before + perf_counter() - started


def save_seconds(folder: Path, seconds: float) -> None:
    """Write the seconds of training up to the last epoch, from which `stopwatch` continues."""
    write_json(folder / _SECONDS, seconds)
