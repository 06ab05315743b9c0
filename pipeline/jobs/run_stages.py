"""Run the stages of an experiment in order, in one process or in the workers of a distributed training."""

import logging
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from pipeline.config import PHASES, Config
from pipeline.jobs.background import hand_over
from pipeline.jobs.checkpoints import checkpoint_folder
from pipeline.jobs.identity import Experiment, read_digests
from pipeline.jobs.stage import execute, is_computed, is_done, places_of, run_body
from pipeline.stages import STAGES
from pipeline.stages.settings import OUTPUTS, read_config
from pipeline.system.errors import PipelineError, UndeliveredError
from pipeline.system.noise import tensorflow_import
from pipeline.system.processes import worker_index
from pipeline.system.terminal import start_logging

log = logging.getLogger(__name__)


def stages_up_to(last: str | None) -> tuple[str, ...]:
    """Return the stages up to `last` (None: all), in order."""
    return STAGES if last is None else STAGES[: STAGES.index(last) + 1]


def is_complete(last: str | None, experiment: Experiment) -> bool:
    """Return whether the results of all stages up to `last` (None: all) are computed and logged."""
    return all(is_done(stage, experiment) for stage in stages_up_to(last))


def run_through(last: str | None, experiment: Experiment, *, repeat: bool) -> None:
    """Run the stages up to `last` (None: all) whose results are missing.

    Interrupted trainings resume. Two processes on the same folder run one after the other. In a distributed training,
    the chief runs all stages, and the other workers take part in the training phases only.

    Args:
        last: Last stage to run; None runs all stages.
        experiment: Experiment whose stages are run.
        repeat: Run `last`, or all stages, again if no result is missing.

    Raises:
        UndeliveredError: All results are computed, but the tracking server is unreachable.
        PipelineError: A stage failed.
    """
    multi_worker = experiment.config.hardware.strategy == "multi_worker"
    if multi_worker:
        # TensorFlow is imported only when a training needs it.
        with tensorflow_import():
            from pipeline.training.hardware import join
            from pipeline.training.workers import broadcast

        join(experiment.config.hardware)
        if worker_index():
            # The chief sends the number of each phase that starts, and 0 after the last. Only the chief writes results.
            while number := broadcast(0):
                stage = PHASES[number - 1]
                log.info("worker %d: %s started", worker_index(), stage)
                with tempfile.TemporaryDirectory() as out:
                    checkpoints = checkpoint_folder(stage, experiment)
                    run_body(stage, experiment, places_of(experiment.config), Path(out), checkpoints=checkpoints)
            return
    with FileLock(f"{experiment.root}.lock", is_singleton=True):
        logged = _run(last, experiment, repeat=repeat)
    if multi_worker:
        # 0 ends the loop of the other workers.
        broadcast(0)
    if not logged:
        raise UndeliveredError(
            f"Finished: outputs are complete in {experiment.root}. The tracking server is unreachable; to upload them later, "
            "run `python -m pipeline.sync` or the same command"
        )


def run_for_command(command: str, last: str, config: Config) -> Path:
    """Run the stages that a command needs in the job's folder below runs/, and return this folder.

    Args:
        command: Name of the command and of its log file in the folder.
        last: Last stage that it needs.
        config: Complete configuration.

    Raises:
        PipelineError: A stage failed.
    """
    experiment = Experiment.of(config, Path("runs"))
    root = experiment.root / experiment.key
    start_logging(root / f"{command}.log")
    run_through(last, replace(experiment, root=root), repeat=False)
    return root


def _run(last: str | None, experiment: Experiment, *, repeat: bool) -> bool:
    """Run the stages whose results are missing, and return whether the tracking store has all results."""
    named = STAGES if last is None else (last,)
    forced = named if repeat and all(is_done(stage, experiment) for stage in named) else ()
    if forced:
        log.info(
            "the results in %s are complete, and are computed again; with -m, the command skips them", experiment.root
        )
    logged = True
    for stage in stages_up_to(last):
        if stage in forced or not is_done(stage, experiment):
            if stage == "report" and hand_over(experiment):
                continue
            logged = execute(stage, experiment, repeat=stage in forced)
            continue
        log.info("%s: up to date: %s", stage, experiment.folder(stage))
        if stage in PHASES:
            # They remain if a process was killed after it had written the result.
            shutil.rmtree(checkpoint_folder(stage, experiment), ignore_errors=True)
    for stage in STAGES[len(stages_up_to(last)) :]:
        # Such a result was computed from inputs that have been replaced since.
        if experiment.folder(stage).exists() and not is_computed(stage, experiment):
            shutil.rmtree(experiment.folder(stage))
    return logged


def log_outputs(config: Config) -> bool:
    """Log the results that DVC keeps in outputs/ to the store, if all of them are whole and of this code.

    Results that were pulled from a colleague are in no store of this checkout.

    Args:
        config: The configuration, whose tracking store is used.

    Returns:
        Whether the store has all results.
    """
    if not (OUTPUTS / "settings" / "config.yaml").exists():
        return False
    try:
        computed = replace(read_config(), tracking=config.tracking)
        experiment = Experiment.of(computed, OUTPUTS, read_digests())
    except PipelineError:
        # The settings are those of other code, or were pulled without the images.
        return False
    if not all((OUTPUTS / name).is_dir() and is_computed(name, experiment) for name in STAGES):
        return False
    run_through(None, experiment, repeat=False)
    return True
