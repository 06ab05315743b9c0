"""Run one stage: write its outputs atomically, log them to the experiment's MLflow run, and resume trainings."""

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline.config import PHASES, Config
from pipeline.data.curation import TooFewImagesError
from pipeline.data.leaks import LeakError
from pipeline.data.sources import image_folder, table_file
from pipeline.jobs.checkpoints import checkpoints, save_seconds, stopwatch
from pipeline.jobs.identity import Experiment
from pipeline.jobs.job_folders import record
from pipeline.jobs.results import RUN, SharedResults, read_result, result_name
from pipeline.jobs.work import read_counts, work_of
from pipeline.reports.index_page import write_index
from pipeline.stages import STAGES, declaration
from pipeline.stages.settings import Places, stage_settings
from pipeline.storage.cache import Cache
from pipeline.storage.files import file_sha256, files_below, read_json, whole_folder, write_json
from pipeline.system.errors import PipelineError, PrunedError
from pipeline.system.noise import tensorflow_import
from pipeline.system.paths import resolve
from pipeline.system.processes import TRIAL
from pipeline.system.terminal import waiting
from pipeline.tracking.initial_weights import weights_digest, weights_source
from pipeline.tracking.ledger import ledger_of
from pipeline.tracking.names import run_name
from pipeline.tracking.run import ExperimentRun, open_run
from pipeline.tracking.run_finder import StageContext
from pipeline.training import Row

log = logging.getLogger(__name__)

# Errors that users can fix: full disk, exceeded quota, read-only file system, missing permission.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def is_computed(stage: str, experiment: Experiment, key: str | None = None) -> bool:
    """Return whether a stage's folder has the complete result for the current settings, code and inputs.

    Args:
        stage: One of `pipeline.stages.STAGES`.
        experiment: Experiment that the stage belongs to.
        key: Key of the stage; None computes it.
    """
    folder = experiment.folder(stage)
    try:
        return (folder / RUN).exists() and read_result(folder, key or experiment.stage_key(stage)) is not None
    except OSError:
        return False


def is_done(stage: str, experiment: Experiment) -> bool:
    """Return whether a stage's result is complete and logged to the tracking store."""
    return is_computed(stage, experiment) and ledger_of(experiment.key, experiment.config).has(experiment.folder(stage))


def execute(stage: str, experiment: Experiment, *, repeat: bool = False) -> bool:
    """Run a stage, write its outputs, and log them to the experiment's run.

    A result that another job has computed is copied from the cache. An interrupted training resumes after its last
    completed epoch. A result that was not logged before is logged.

    Args:
        stage: One of `pipeline.stages.STAGES`.
        experiment: Experiment that the stage belongs to.
        repeat: Compute the result even if it exists.

    Returns:
        True if the tracking store has the result. The files are complete even if the store is unreachable.

    Raises:
        PipelineError: An input is missing, files can't be written, or the stage failed.
    """
    config, root, folder = experiment.config, experiment.root, experiment.folder(stage)
    needs = declaration(stage).needs
    for name in needs:
        if not (root / name).is_dir():
            raise PipelineError(
                f"{stage} needs the outputs of {name}, but {root / name} does not exist; run `dvc repro` or `python -m pipeline`"
            )
    log.info("%s: started", stage)
    cache, name = resolve(config.cache_folder), _run_name(stage, experiment)
    started, key, shared = perf_counter(), experiment.stage_key(stage), SharedResults(cache)
    try:
        record(cache, root, name, result_name(stage, key))
        with waiting(stage), shared.alone_with(stage, key), checkpoints(stage, key, experiment, made_by=name) as saved:
            if repeat and saved:
                # They remain if a process was killed after its last epoch.
                for leftover in saved.glob("*.npz"):
                    leftover.unlink()
            computed = not repeat and (is_computed(stage, experiment, key) or shared.take(stage, key, folder))
            resumes = saved is not None and any(saved.glob("*.npz"))
            context = StageContext(experiment.key, stage, root, needs, resumes=resumes, computed=computed)
            with open_run(context, config) as run:
                if not computed:
                    _compute(stage, key, experiment, run, saved)
                    shared.add(stage, key, folder)
                logged = run.log_stage(folder)
                _log_later_stages(stage, experiment, run)
                if stage == STAGES[-1]:
                    write_index(root, STAGES, run.origin(), image_folder(config.dataset))
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise PipelineError(
            f"{stage}: {error}. No incomplete outputs remain in {root}. Free disk space, or make {cache} "
            f"and {root} writable (cache_folder, hydra.run.dir); then run the same command to resume"
        ) from error
    log.info("%s: finished after %.0f s: %s", stage, perf_counter() - started, folder)
    return logged


def _log_later_stages(stage: str, experiment: Experiment, run: ExperimentRun) -> None:
    """Log the valid results of later stages, since DVC does not run a stage whose inputs have not changed."""
    for later in STAGES[STAGES.index(stage) + 1 :]:
        folder = experiment.folder(later)
        if not (is_computed(later, experiment) and (run.has(folder) or run.log_stage(folder))):
            return


def run_body(
    stage: str,
    experiment: Experiment,
    places: Places,
    out: Path,
    *,
    listener: Callable[[Row], None] = lambda _row: None,
    checkpoints: Path | None,
) -> dict[str, str]:
    """Run the code of a stage.

    The stage is imported here, since importing TensorFlow takes seconds and not every stage needs it.

    Args:
        stage: One of `pipeline.stages.STAGES`.
        experiment: Experiment that the stage belongs to.
        places: Folders that the stage reads, and the cache.
        out: Folder that the outputs are written to.
        listener: Function called with the metrics of each epoch.
        checkpoints: Folder of the training's checkpoints; None: the training can't be resumed.

    Returns:
        Environment that the result depends on: devices, threads and versions.
    """
    settings: Any = stage_settings(stage, experiment.config)
    inputs = experiment.root
    if stage == "prepare":
        from pipeline.stages import prepare

        return prepare.run(settings, places, out)
    if stage in PHASES:
        with tensorflow_import():
            from pipeline.stages import finetune, train

        run = train.run if stage == "train" else finetune.run
        return run(settings, places, inputs, out, listener=listener, checkpoints=checkpoints)
    if stage == "evaluate":
        with tensorflow_import():
            from pipeline.stages import evaluate

        return evaluate.run(settings, places, inputs, out)
    from pipeline.stages import report

    return report.run(settings, places, inputs, out)


def _run_name(stage: str, experiment: Experiment) -> str:
    """Return the name of an experiment's run in MLflow; an automatic unfreeze depth is known after finetune."""
    depth = None
    if "finetune" in declaration(stage).needs:
        depth = read_json(experiment.folder("finetune") / "metrics.json")["unfreeze_rounds"]
    return run_name(experiment.key, experiment.config, depth)


def places_of(config: Config, made_by: str = "", *, with_weights: bool = True) -> Places:
    """Return the folders that stages read from, after writing the images of a bundled or downloaded data set.

    Args:
        config: Complete configuration.
        made_by: Name of the experiment that builds entries of the cache.
        with_weights: Whether to look up the file with the initial weights, which a later stage does not need.
    """
    source = weights_source(config) if with_weights else None
    cache = Cache(resolve(config.cache_folder), made_by)
    weights = source.file if source else None
    preset = resolve(str(config.backbone.preset)) if config.backbone.has_preset_folder else None
    return Places(image_folder(config.dataset), table_file(config.dataset), weights, cache, preset)


def _compute(stage: str, key: str, experiment: Experiment, run: ExperimentRun, saved: Path | None) -> None:
    root, name = experiment.root, _run_name(stage, experiment)
    for leftover in root.glob(f".{stage}-*"):
        # They remain from a killed process: no other process is running, since this one has locked the folder.
        shutil.rmtree(leftover, ignore_errors=True)
    leaks_page, quarantine = root / "leaks.html", root / "quarantine.csv"
    leaks_page.unlink(missing_ok=True)
    quarantine.unlink(missing_ok=True)
    if stage in PHASES and experiment.config.hardware.strategy == "multi_worker":
        # TensorFlow is imported only when a training needs it.
        from pipeline.training.workers import broadcast

        # The other workers wait for the number of the phase that starts.
        broadcast(PHASES.index(stage) + 1)
    with_weights = "weights" in declaration(stage).digests
    if with_weights and weights_digest(experiment.config) != experiment.digests["weights"]:
        raise PipelineError(
            "backbone.weights, backbone.preset: a file that they name has changed since the start; run the same command again"
        )
    seconds, places = stopwatch(saved), places_of(experiment.config, name, with_weights=with_weights)
    listeners = [run.report_epoch, *_pruner()]

    def listen(row: Row) -> None:
        if saved:
            save_seconds(saved, seconds())
        for listener in listeners:
            listener(row)

    with whole_folder(root / stage) as out:
        try:
            environment = run_body(stage, experiment, places, out, listener=listen, checkpoints=saved)
        except LeakError as error:
            # Users need this page to resolve the leak, and a failed stage leaves no outputs.
            from pipeline.reports.review_pages import write_duplicates

            write_duplicates(error.duplicates, places.images, leaks_page)
            raise PipelineError(f"{error}\nSee the images in {leaks_page}") from error
        except TooFewImagesError as error:
            if error.quarantined.empty:
                raise
            error.quarantined.to_csv(quarantine, index=False)
            count = len(error.quarantined)
            raise PipelineError(f"{error}\n{count} files were excluded, with reasons in {quarantine}") from error
        state = {
            "run_id": run.run_id,
            "experiment": experiment.key,
            "made_by": name,
            "stage_key": key,
            "cache": sorted(places.cache.used),
            "work": work_of(stage, experiment.config, read_counts(out if stage == "prepare" else root / "prepare")),
            "seconds": round(seconds(), 3),
            "environment": environment,
            "files": {
                file.relative_to(out).as_posix(): {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
                for file in files_below(out)
            },
        }
        write_json(out / RUN, state)


def _pruner() -> list[Callable[[Row], None]]:
    """Return a listener that reports each epoch to Optuna, if this job is a trial of a search with pruning.

    The list is empty otherwise. The listener raises PrunedError if the trial is pruned.
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
                f"trial {search['number']} of {search['study']} was pruned after epoch {row['epoch']}: other trials were better at that epoch"
            )

    return [report]
