"""Run one stage: write its outputs whole or not at all, log them to the experiment's run, resume trainings."""

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline.config import PHASES, Config
from pipeline.data.leaks import LeakError
from pipeline.data.sources import image_folder, table_file
from pipeline.jobs.identity import Experiment
from pipeline.jobs.results import RUN, SharedResults
from pipeline.stages import STAGES, declaration
from pipeline.stages.settings import Places, stage_settings
from pipeline.storage.files import file_sha256, files_below, is_writable, read_json, whole_folder, write_json
from pipeline.system.errors import PipelineError, PrunedError
from pipeline.system.paths import resolve
from pipeline.system.processes import TRIAL
from pipeline.tracking.ledger import ledger_of
from pipeline.tracking.run import ExperimentRun, open_run
from pipeline.tracking.run_finder import StageContext
from pipeline.training import Row

log = logging.getLogger(__name__)

# Beside the checkpoints of a training: the seconds that it has taken up to its last epoch.
_SECONDS = "seconds.json"
# Errors that people can fix: no space, quota used up, read-only, no permission.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def is_computed(stage: str, experiment: Experiment, key: str | None = None) -> bool:
    """Return whether a stage's folder holds its result for these settings, code and inputs, all files whole.

    Args:
        stage: one of `pipeline.stages.STAGES`.
        experiment: whose stage it is.
        key: the stage's, where it is known already.
    """
    folder = experiment.folder(stage)
    try:
        state = read_json(folder / RUN)
        if state["stage_key"] != (key or experiment.stage_key(stage)):
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
    config, root, folder = experiment.config, experiment.root, experiment.folder(stage)
    needs = declaration(stage).needs
    for name in needs:
        if not (root / name).is_dir():
            raise PipelineError(
                f"{stage} needs the outputs of {name}, and {root / name} does not exist; run dvc repro, or python -m pipeline"
            )
    log.info("%s: started", stage)
    started, key, shared = perf_counter(), experiment.stage_key(stage), SharedResults(resolve(config.cache_folder))
    try:
        with shared.alone_with(stage, key), _checkpoints(stage, key, experiment) as checkpoints:
            if repeat and checkpoints:
                # Of a process that was killed after its last epoch.
                for leftover in checkpoints.glob("*.npz"):
                    leftover.unlink()
            computed = not repeat and (is_computed(stage, experiment, key) or shared.take(stage, key, folder))
            resumes = checkpoints is not None and any(checkpoints.glob("*.npz"))
            context = StageContext(experiment.key, stage, root, needs, resumes=resumes, computed=computed)
            with open_run(context, config) as run:
                if not computed:
                    _compute(stage, key, experiment, run, checkpoints)
                    shared.add(stage, key, folder)
                logged = run.log_stage(folder)
                _log_later_stages(stage, experiment, run)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise PipelineError(
            f"{stage}: {error}; nothing half-written was left in {root}. Free disk space, or make {resolve(config.cache_folder)} and {root} "
            "writable (cache_folder, hydra.run.dir); the same command then resumes"
        ) from error
    log.info("%s: finished after %.0f s: %s", stage, perf_counter() - started, folder)
    return logged


def _log_later_stages(stage: str, experiment: Experiment, run: ExperimentRun) -> None:
    """Log later stages whose results still hold: DVC does not run them if this stage's outputs are as before."""
    for later in STAGES[STAGES.index(stage) + 1 :]:
        folder = experiment.folder(later)
        if not (is_computed(later, experiment) and (run.has(folder) or run.log_stage(folder))):
            return


def run_body(
    stage: str, experiment: Experiment, out: Path, listener: Callable[[Row], None], checkpoints: Path | None
) -> dict[str, str]:
    """Call a stage's body, which is imported here: TensorFlow takes seconds, and not every stage needs it.

    Returns:
        the environment that the result depends on: devices, threads, versions.
    """
    settings: Any = stage_settings(stage, experiment.config)
    places, inputs = places_of(experiment.config), experiment.root
    if stage == "prepare":
        from pipeline.stages import prepare

        return prepare.run(settings, places, out)
    if stage in PHASES:
        from pipeline.stages import finetune, train

        run = train.run if stage == "train" else finetune.run
        return run(settings, places, inputs, out, listener=listener, checkpoints=checkpoints)
    if stage == "evaluate":
        from pipeline.stages import evaluate

        return evaluate.run(settings, places, inputs, out)
    from pipeline.stages import report

    return report.run(settings, places, inputs, out)


def places_of(config: Config) -> Places:
    """Folders that stages read from; a data set that brings its images is written there first."""
    weights = resolve(config.backbone.weights) if config.backbone.has_weights_file else None
    return Places(image_folder(config.dataset), table_file(config.dataset), weights, resolve(config.cache_folder))


def _compute(stage: str, key: str, experiment: Experiment, run: ExperimentRun, checkpoints: Path | None) -> None:
    root = experiment.root
    for leftover in root.glob(f".{stage}-*"):
        # Of a process that was killed: this one has locked the folder.
        shutil.rmtree(leftover, ignore_errors=True)
    leaks_page = root / "leaks.html"
    leaks_page.unlink(missing_ok=True)
    if stage in PHASES and experiment.config.hardware.strategy == "multi_worker":
        # TensorFlow is not imported before a training needs it.
        from pipeline.training.hardware import broadcast

        # The other workers wait for the number of the training that begins now.
        broadcast(PHASES.index(stage) + 1)
    seconds = _stopwatch(checkpoints)
    listeners = [run.report_epoch, *_pruner()]

    def listen(row: Row) -> None:
        if checkpoints:
            write_json(checkpoints / _SECONDS, seconds())
        for listener in listeners:
            listener(row)

    with whole_folder(root / stage) as out:
        try:
            environment = run_body(stage, experiment, out, listen, checkpoints)
        except LeakError as error:
            # People need it to decide; the stage itself writes nothing.
            from pipeline.reports.review_pages import write_duplicates

            write_duplicates(error.duplicates, places_of(experiment.config).images, leaks_page)
            raise PipelineError(f"{error}\n{leaks_page} shows them") from error
        state = {
            "run_id": run.run_id,
            "stage_key": key,
            "seconds": round(seconds(), 3),
            "environment": environment,
            "files": {
                file.relative_to(out).as_posix(): {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
                for file in files_below(out)
            },
        }
        write_json(out / RUN, state)


def _stopwatch(checkpoints: Path | None) -> Callable[[], float]:
    """Reads the seconds of a stage, with those of earlier starts that were cut off."""
    file = checkpoints / _SECONDS if checkpoints else None
    before: float = read_json(file) if file and file.exists() else 0.0
    started = perf_counter()
    return lambda: before + perf_counter() - started


def _pruner() -> list[Callable[[Row], None]]:
    """Listener that reports each epoch to the search, where this job is an Optuna trial of one that prunes; else none.

    It raises PrunedError where the search ends this trial.
    """
    search = json.loads(os.environ.get(TRIAL) or "{}")
    if not search.get("report"):
        return []
    import optuna

    chosen = search["pruner"]
    startup, warmup = chosen["startup_trials"], chosen["warmup_epochs"]
    if chosen["name"] == "hyperband":
        pruner = optuna.pruners.HyperbandPruner(min_resource=max(1, warmup))
    else:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    study = optuna.load_study(study_name=search["study"], storage=search["storage"], pruner=pruner)
    running = optuna.trial.Trial(study, search["id"])

    def report(row: Row) -> None:
        running.report(row[search["report"]], int(row["epoch"]))
        if running.should_prune():
            raise PrunedError(
                f"trial {search['number']} of {search['study']} was pruned after epoch {row['epoch']}: others were better by then"
            )

    return [report]


def checkpoint_folder(stage: str, experiment: Experiment, key: str | None = None) -> Path:
    """Folder of the checkpoints from which a training resumes, until its stage has ended; `key` as in `is_computed`."""
    return resolve(experiment.config.cache_folder) / f"resume-{stage}-{key or experiment.stage_key(stage)}"


@contextmanager
def _checkpoints(stage: str, key: str, experiment: Experiment) -> Iterator[Path | None]:
    """Folder of a training's checkpoints, removed after it; None for other stages, and where nothing can be written."""
    if stage not in PHASES:
        yield None
        return
    folder = checkpoint_folder(stage, experiment, key)
    if not is_writable(folder.parent):
        log.warning("cache_folder: %s is not writable: if interrupted, %s will not be resumable", folder.parent, stage)
        yield None
        return
    try:
        # So that `python -m pipeline.cache` lists and prunes it.
        holds = {"kind": "resume", "backbone": f"{experiment.config.backbone.name} {stage}"}
        write_json(folder / "entry.json", {"holds": holds})
        yield folder
        shutil.rmtree(folder)
    finally:
        if not any(folder.glob("*.npz")):
            shutil.rmtree(folder, ignore_errors=True)
