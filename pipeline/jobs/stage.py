"""Run one stage: its files whole or not at all, its results in the tracking store, and what was cut off goes on."""

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from filelock import FileLock, Timeout

from pipeline.config import Config
from pipeline.jobs.trial import pruning
from pipeline.storage.files import is_writable, read_json, whole_folder, write_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.tracking import ExperimentRun, open_run
from pipeline.training.history import Row

log = logging.getLogger(__name__)


RUN = "run.json"
# In the folder from which a training goes on: the seconds that it has taken up to its last epoch.
_SECONDS = "seconds.json"
# The stages that go on from their last finished epoch.
TRAININGS = ("train", "finetune")
# What a person has to put right: no space, quota used up, read-only, not theirs.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def stage_body(stage: str) -> ModuleType:
    """Import the module that holds a stage's body: TensorFlow takes seconds, and one stage needs none of another's imports."""
    if stage == "prepare":
        from pipeline.stages import prepare as body
    elif stage == "train":
        from pipeline.stages import train as body
    elif stage == "finetune":
        from pipeline.stages import finetune as body
    else:
        from pipeline.stages import evaluate as body
    return body


def is_computed(folder: Path, key: str) -> bool:
    """Whether a stage's folder holds its files, none of them cut short, for the experiment with this key."""
    try:
        told = read_json(folder / RUN)
        if told["experiment_key"] != key:
            return False
        cut = [name for name, size in told["files"].items() if (folder / name).stat().st_size != size]
    except (OSError, ValueError, KeyError):
        return False
    if cut:
        log.warning("%s is not as it was written (%s): this stage runs again", folder, ", ".join(cut))
    return not cut


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder, by its path there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def is_done(folder: Path, key: str) -> bool:
    """As `is_computed`, and MLflow has them."""
    return is_computed(folder, key) and read_json(folder / RUN)["logged"]


def execute(stage: str, config: Config, root: Path, key: str) -> bool:
    """Run the stage's module on its inputs below `root`, write `root/<stage>/`, and log it under the experiment's key.

    A training that was cut off goes on after its last finished epoch; what was computed and not logged is logged.

    Returns:
        whether the tracking store has it; it may be away, and the files are then whole all the same.

    Raises:
        PipelineError: an input is missing, or whatever the stage finds wrong.
    """
    body = stage_body(stage)
    for name in body.INPUTS:
        if not (root / name).is_dir():
            raise PipelineError(
                f"{stage} needs what {name} writes, and {root / name} does not exist; run dvc repro, or python -m pipeline"
            )
    log.info("%s begins", stage)
    started, unlogged = perf_counter(), is_computed(root / stage, key) and not is_done(root / stage, key)
    try:
        with _backup(stage, config, key) as backup:
            resumes = backup is not None and any(backup.glob("*.npz"))
            with open_run(config, key, stage, root, body.INPUTS, resumes) as run:
                if unlogged:
                    log.info("%s was computed, and not logged yet", stage)
                else:
                    _compute(stage, config, root, key, run, backup)
                logged = run.log_stage(root / stage)
            if backup:
                shutil.rmtree(backup)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise PipelineError(
            f"{stage}: {error}; nothing half-written was left in {root}. Make room, or let {resolve(config.cache_folder)} and {root} be written "
            "to (cache_folder, hydra.run.dir); the same command goes on then"
        ) from error
    log.info("%s ended after %.0f s: %s", stage, perf_counter() - started, root / stage)
    return logged


def _compute(stage: str, config: Config, root: Path, key: str, run: ExperimentRun, backup: Path | None) -> None:
    for leftover in root.glob(f".{stage}-*"):
        # Of a process that was killed: whoever works here has this folder alone.
        shutil.rmtree(leftover, ignore_errors=True)
    kept: dict[str, Any] = {"backup": backup} if stage in TRAININGS else {}
    if kept and config.hardware.strategy == "multi_worker":
        # TensorFlow is not imported before a training needs it.
        from pipeline.jobs.multi_worker import lead

        lead(stage)
    with whole_folder(root / stage) as out:
        timed, seconds = _timed(pruning(run.report_epoch), backup)
        environment = stage_body(stage).run(config, root, out, timed, **kept)
        state = {
            "run_id": run.run_id,
            "experiment_key": key,
            "seconds": round(seconds(), 3),
            "environment": environment,
            "files": _sizes(out),
            "logged": False,
        }
        write_json(out / RUN, state)


def _timed(report: Callable[[Row], None], backup: Path | None) -> tuple[Callable[[Row], None], Callable[[], float]]:
    """`report`, which then also keeps how long the training has taken, and a function that gives the seconds since now and those of the starts before."""
    file, started = backup / _SECONDS if backup else None, perf_counter()
    before = read_json(file) if file and file.exists() else 0.0

    def seconds() -> float:
        return before + perf_counter() - started

    def report_in_time(row: Row) -> None:
        if file:
            write_json(file, seconds())
        report(row)

    return report_in_time, seconds


def remove_leftover_checkpoint(stage: str, config: Config, key: str) -> None:
    """Remove what a stage that is done took to go on, left by a process that was killed in its last moment."""
    if stage in TRAININGS and resume_folder(config, key, stage).exists():
        with _backup(stage, config, key) as backup:
            if backup:
                shutil.rmtree(backup)


def resume_folder(config: Config, key: str, stage: str) -> Path:
    """Where the state of an experiment's training lies until the stage has ended."""
    return resolve(config.cache_folder) / f"resume-{key}-{stage}"


@contextmanager
def _backup(stage: str, config: Config, key: str) -> Iterator[Path | None]:
    """The folder from which a training goes on, an entry of the cache; None for other stages, and where another process has it."""
    if stage not in TRAININGS:
        yield None
        return
    folder = resume_folder(config, key, stage)
    if not is_writable(folder.parent):
        log.warning("cache_folder: %s can't be written to: cut off, %s would begin anew", folder.parent, stage)
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("The same training is going on elsewhere: what this one takes to resume is not kept")
        yield None
        return
    try:
        # So that `python -m pipeline.cache` lists and prunes it.
        write_json(folder / "entry.json", {"holds": {"kind": "resume", "backbone": f"{config.backbone.name} {stage}"}})
        yield folder
    finally:
        if not any(folder.glob("*.npz")):
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
