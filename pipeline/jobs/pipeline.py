"""Run the stages of an experiment in order, by one process, or by several that train together."""

import logging
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from pipeline.config import PHASES
from pipeline.jobs.identity import Experiment
from pipeline.jobs.stage import checkpoint_folder, execute, is_computed, is_done, run_body
from pipeline.stages import STAGES
from pipeline.system.errors import UndeliveredError
from pipeline.system.processes import worker_index

log = logging.getLogger(__name__)


def stages_up_to(last: str | None) -> tuple[str, ...]:
    """The stages up to `last`, in order; None: all."""
    return STAGES if last is None else STAGES[: STAGES.index(last) + 1]


def is_complete(last: str | None, experiment: Experiment) -> bool:
    """Return whether the results of all stages up to `last` (None: all) are computed and logged."""
    return all(is_done(stage, experiment) for stage in stages_up_to(last))


def run_through(last: str | None, experiment: Experiment, *, repeat: bool) -> None:
    """Run the stages up to `last` (None: all) whose results are missing.

    Trainings that were cut off resume. Two processes on the same folder take turns. Of processes that
    train together, the chief runs the stages, and the others take part in its trainings.

    Args:
        last: the last stage to run.
        experiment: its configuration and folder.
        repeat: run `last`, or all stages, once more where nothing is missing.

    Raises:
        UndeliveredError: everything was computed, and the tracking store is away.
        PipelineError: an error of a stage.
    """
    multi_worker = experiment.config.hardware.strategy == "multi_worker"
    if multi_worker:
        # TensorFlow is not imported before a training needs it.
        from pipeline.training.hardware import broadcast, join

        join(experiment.config.hardware)
        if worker_index():
            # The chief names each training that begins, and 0 after the last one; it alone keeps the files.
            while number := broadcast(0):
                stage = PHASES[number - 1]
                log.info("worker %d: %s started", worker_index(), stage)
                with tempfile.TemporaryDirectory() as out:
                    run_body(stage, experiment, Path(out), lambda _row: None, checkpoint_folder(stage, experiment))
            return
    with FileLock(f"{experiment.root}.lock", is_singleton=True):
        logged = _run(last, experiment, repeat=repeat)
    if multi_worker:
        # There is no further training.
        broadcast(0)
    if not logged:
        raise UndeliveredError(
            f"Finished: outputs are complete in {experiment.root}. The tracking server is unreachable; upload later with "
            "`python -m pipeline.sync` or the same command"
        )


def _run(last: str | None, experiment: Experiment, *, repeat: bool) -> bool:
    """Run what is missing; returns whether the tracking store has everything."""
    named = STAGES if last is None else (last,)
    forced = named if repeat and all(is_done(stage, experiment) for stage in named) else ()
    logged = True
    for stage in stages_up_to(last):
        if stage in forced or not is_done(stage, experiment):
            logged = execute(stage, experiment, repeat=stage in forced)
            continue
        log.info("%s: up to date: %s", stage, experiment.folder(stage))
        if stage in PHASES:
            # A process that is killed in its last moment leaves them.
            shutil.rmtree(checkpoint_folder(stage, experiment), ignore_errors=True)
    for stage in STAGES[len(stages_up_to(last)) :]:
        # Computed from files that were replaced: it belongs to another experiment.
        if experiment.folder(stage).exists() and not is_computed(stage, experiment):
            shutil.rmtree(experiment.folder(stage))
    return logged
