"""Run one stage: write its outputs whole or not at all, log them to the experiment's run, resume trainings."""

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline.config import Config
from pipeline.data.leaks import LeakError
from pipeline.data.sources import image_folder, table_file
from pipeline.jobs.identity import Digests, experiment_key, outside_digests, stage_key
from pipeline.jobs.results import RUN, SharedResults
from pipeline.jobs.trial import pruner
from pipeline.stages import STAGES, TRAININGS, declaration
from pipeline.stages.settings import Places, stage_settings
from pipeline.storage.files import Json, file_sha256, files_below, is_writable, read_json, whole_folder, write_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.tracking import ExperimentRun, StageContext, ledger_of, open_run
from pipeline.training import Row

log = logging.getLogger(__name__)

# Beside the checkpoints of a training: the seconds that it has taken up to its last epoch.
_SECONDS = "seconds.json"
# Errors that people can fix: no space, quota used up, read-only, no permission.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Experiment:
    """The experiment that a job works on, and where its outputs lie."""

    config: Config
    root: Path
    """Folder of the stages' folders: a job's own, or DVC's outputs/."""
    digests: Digests
    key: str

    @classmethod
    def of(cls, config: Config, root: Path, digests: Digests | None = None) -> "Experiment":
        """The experiment of a configuration; `digests` as `pipeline.jobs.identity.outside_digests` returns them."""
        digests = digests or outside_digests(config)
        return cls(config, root, digests, experiment_key(config, digests))

    def stage_key(self, stage: str) -> str:
        """Key of a stage's result; raises OSError where an input is missing."""
        return stage_key(stage, self.config, self.root, self.digests)

    def folder(self, stage: str) -> Path:
        """Folder of a stage's outputs."""
        return self.root / stage


def is_computed(stage: str, experiment: Experiment) -> bool:
    """Return whether a stage's folder holds its result for these settings, code and inputs, all files whole."""
    folder = experiment.folder(stage)
    try:
        state = read_json(folder / RUN)
        if state["stage_key"] != experiment.stage_key(stage):
            return False
        files = state["files"].items()
        truncated = [name for name, file in files if (folder / name).stat().st_size != file["bytes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if truncated:
        log.warning("%s has missing or truncated files (%s); re-running the stage", folder, ", ".join(truncated))
    return not truncated


def is_done(stage: str, experiment: Experiment) -> bool:
    """Return whether a stage's result is computed, and the tracking store has it."""
    return is_computed(stage, experiment) and ledger_of(experiment.key, experiment.config).has(experiment.folder(stage))


def execute(stage: str, experiment: Experiment, *, repeat: bool = False) -> bool:
    """Run a stage on its inputs, write its folder, and log it to the experiment's run.

    A result that any job has computed is taken, not computed again. A training that was cut off resumes after its last
    completed epoch. A result that was not logged is logged.

    Args:
        stage: one of `pipeline.stages.STAGES`.
        experiment: what it runs for.
        repeat: compute it in any case.

    Returns:
        whether the tracking store has the result; if it is away, the files are complete all the same.

    Raises:
        PipelineError: an input is missing, or an error of the stage's own.
    """
    config, root = experiment.config, experiment.root
    needs = declaration(stage).needs
    for name in needs:
        if not (root / name).is_dir():
            raise PipelineError(
                f"{stage} needs the outputs of {name}, and {root / name} does not exist; run dvc repro, or python -m pipeline"
            )
    log.info("%s: started", stage)
    started, key, shared = perf_counter(), experiment.stage_key(stage), SharedResults(resolve(config.cache_folder))
    try:
        with shared.alone_with(stage, key), _checkpoints(stage, experiment) as checkpoints:
            if repeat and checkpoints:
                # Of a process that was killed after its last epoch.
                for leftover in checkpoints.glob("*.npz"):
                    leftover.unlink()
            computed = not repeat and is_computed(stage, experiment)
            if not computed and not repeat and shared.take(stage, key, root / stage):
                computed = True
                log.info("%s: computed before; its result was taken from the cache", stage)
            resumes = checkpoints is not None and any(checkpoints.glob("*.npz"))
            context = StageContext(experiment.key, stage, root, needs, resumes=resumes, computed=computed)
            with open_run(context, config) as run:
                if not computed:
                    _compute(stage, experiment, run, checkpoints)
                    shared.add(stage, key, root / stage)
                logged = run.log_stage(root / stage)
                _log_later_stages(stage, experiment, run)
            if checkpoints:
                shutil.rmtree(checkpoints)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise PipelineError(
            f"{stage}: {error}; nothing half-written was left in {root}. Free disk space, or make {resolve(config.cache_folder)} and {root} "
            "writable (cache_folder, hydra.run.dir); the same command then resumes"
        ) from error
    log.info("%s: finished after %.0f s: %s", stage, perf_counter() - started, root / stage)
    return logged


def _log_later_stages(stage: str, experiment: Experiment, run: ExperimentRun) -> None:
    """Log later stages whose results still hold: DVC does not run them if this stage's outputs are as before."""
    for later in STAGES[STAGES.index(stage) + 1 :]:
        if not is_computed(later, experiment):
            return
        if not run.has(experiment.folder(later)) and not run.log_stage(experiment.folder(later)):
            return


def run_body(
    stage: str, experiment: Experiment, out: Path, listener: Callable[[Row], None], checkpoints: Path | None
) -> dict[str, str]:
    """Call a stage's body, which is imported here: TensorFlow takes seconds, and no stage needs another's imports.

    Returns:
        the environment that the result depends on: devices, threads, versions.
    """
    settings: Any = stage_settings(stage, experiment.config)
    places, inputs = places_of(experiment.config), experiment.root
    if stage == "prepare":
        from pipeline.stages import prepare

        return prepare.run(settings, places, out)
    if stage == "train":
        from pipeline.stages import train

        return train.run(settings, places, inputs, out, listener=listener, checkpoints=checkpoints)
    if stage == "finetune":
        from pipeline.stages import finetune

        return finetune.run(settings, places, inputs, out, listener=listener, checkpoints=checkpoints)
    if stage == "evaluate":
        from pipeline.stages import evaluate

        return evaluate.run(settings, places, inputs, out)
    from pipeline.stages import report

    return report.run(settings, places, inputs, out)


def places_of(config: Config) -> Places:
    """Folders that stages read from; a data set that brings its images is written there first."""
    weights = resolve(config.backbone.weights) if config.backbone.has_weights_file else None
    return Places(image_folder(config.dataset), table_file(config.dataset), weights, resolve(config.cache_folder))


def _compute(stage: str, experiment: Experiment, run: ExperimentRun, checkpoints: Path | None) -> None:
    root, key = experiment.root, experiment.stage_key(stage)
    for leftover in root.glob(f".{stage}-*"):
        # Of a process that was killed: this one has locked the folder.
        shutil.rmtree(leftover, ignore_errors=True)
    leaks_page = root / "leaks.html"
    leaks_page.unlink(missing_ok=True)
    if stage in TRAININGS and experiment.config.hardware.strategy == "multi_worker":
        # TensorFlow is not imported before a training needs it.
        from pipeline.training.multi_worker import broadcast

        # The other workers wait for the number of the training that begins now.
        broadcast(TRAININGS.index(stage) + 1)
    stopwatch = _Stopwatch(checkpoints)
    listeners: list[Callable[[Row], None]] = [stopwatch, run.report_epoch, *pruner()]
    with whole_folder(root / stage) as out:
        try:
            environment = run_body(stage, experiment, out, lambda row: _notify(listeners, row), checkpoints)
        except LeakError as error:
            # People need it to decide; the stage itself writes nothing.
            from pipeline.reports.review_pages import write_duplicates

            write_duplicates(error.duplicates, places_of(experiment.config).images, leaks_page)
            raise PipelineError(f"{error}\n{leaks_page} shows them") from error
        state = {
            "run_id": run.run_id,
            "stage_key": key,
            "seconds": round(stopwatch.seconds(), 3),
            "environment": environment,
            "files": _files(out),
        }
        write_json(out / RUN, state)


def _notify(listeners: list[Callable[[Row], None]], row: Row) -> None:
    for listener in listeners:
        listener(row)


class _Stopwatch:
    """Seconds of a stage, with those of earlier starts that were cut off; saved beside the checkpoints."""

    def __init__(self, checkpoints: Path | None):
        self._file = checkpoints / _SECONDS if checkpoints else None
        self._started = perf_counter()
        self._before: float = read_json(self._file) if self._file and self._file.exists() else 0.0

    def __call__(self, _row: Row) -> None:
        if self._file:
            write_json(self._file, self.seconds())

    def seconds(self) -> float:
        return self._before + perf_counter() - self._started


def _files(folder: Path) -> dict[str, Json]:
    """Size and sha256 of each file in a folder, by its path there."""
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
        for file in files_below(folder)
    }


def remove_leftover_checkpoints(stage: str, experiment: Experiment) -> None:
    """Remove the checkpoints of a finished training, which a process leaves that is killed in its last moment."""
    if stage in TRAININGS and checkpoint_folder(stage, experiment).exists():
        with _checkpoints(stage, experiment) as checkpoints:
            if checkpoints:
                shutil.rmtree(checkpoints)


def checkpoint_folder(stage: str, experiment: Experiment) -> Path:
    """Folder of the checkpoints from which a training resumes, until its stage has ended."""
    return resolve(experiment.config.cache_folder) / f"resume-{stage}-{experiment.stage_key(stage)}"


@contextmanager
def _checkpoints(stage: str, experiment: Experiment) -> Iterator[Path | None]:
    """Folder of a training's checkpoints; None for other stages, and where nothing can be written."""
    if stage not in TRAININGS:
        yield None
        return
    folder = checkpoint_folder(stage, experiment)
    if not is_writable(folder.parent):
        log.warning("cache_folder: %s is not writable: if interrupted, %s will not be resumable", folder.parent, stage)
        yield None
        return
    try:
        # So that `python -m pipeline.cache` lists and prunes it.
        holds = {"kind": "resume", "backbone": f"{experiment.config.backbone.name} {stage}"}
        write_json(folder / "entry.json", {"holds": holds})
        yield folder
    finally:
        if not any(folder.glob("*.npz")):
            shutil.rmtree(folder, ignore_errors=True)
