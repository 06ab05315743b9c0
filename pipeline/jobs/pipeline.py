"""Run the stages of an experiment in order, in one process."""

import logging
import shutil
from functools import partial

from filelock import FileLock

from pipeline.jobs.stage import (
    Experiment,
    checkpoint_folder,
    execute,
    is_computed,
    is_done,
    remove_leftover_checkpoints,
)
from pipeline.stages import STAGES
from pipeline.system.environment import worker_index
from pipeline.system.errors import UndeliveredError

log = logging.getLogger(__name__)


def stages_up_to(last: str | None) -> tuple[str, ...]:
    """The stages until `last`, in order; None: all."""
    return STAGES if last is None else STAGES[: STAGES.index(last) + 1]


def is_complete(last: str | None, experiment: Experiment) -> bool:
    """Whether the results of all stages up to `last` (None: all) are there and logged."""
    return all(is_done(stage, experiment) for stage in stages_up_to(last))


def run_through(last: str | None, experiment: Experiment, *, repeat: bool) -> None:
    """Run the stages up to `last` (None: all); those whose results are there are not run again.

    What was cut off resumes. Two processes on the same folder take turns.

    Args:
        last: the last stage to run.
        experiment: its configuration and folder.
        repeat: run what was asked for (`last`, or all stages) once more where all of it is there already.

    Raises:
        UndeliveredError: everything was computed, and the tracking store is away.
        PipelineError: what a stage raises.
    """
    multi_worker = experiment.config.hardware.strategy == "multi_worker"
    if multi_worker:
        # TensorFlow is not imported before a training needs it.
        from pipeline.jobs.multi_worker import join, run_worker

        join(experiment.config.hardware)
        if worker_index():
            run_worker(experiment, partial(checkpoint_folder, experiment=experiment))
            return
    with FileLock(f"{experiment.root}.lock", is_singleton=True):
        logged = _run(last, experiment, repeat)
    if multi_worker:
        from pipeline.jobs.multi_worker import announce_stage

        announce_stage(None)
    if not logged:
        raise UndeliveredError(
            f"Finished: outputs are complete in {experiment.root}. The tracking server is unreachable; upload later with "
            "`python -m pipeline.sync` or the same command"
        )


def _run(last: str | None, experiment: Experiment, repeat: bool) -> bool:
    """Run what is missing; returns whether the tracking store has everything."""
    wanted = STAGES if last is None else (last,)
    forced = set(wanted) if repeat and all(is_done(stage, experiment) for stage in wanted) else set()
    logged = True
    for stage in stages_up_to(last):
        if stage not in forced and is_done(stage, experiment):
            log.info("%s: up to date: %s", stage, experiment.folder(stage))
            remove_leftover_checkpoints(stage, experiment)
        else:
            if stage in forced:
                shutil.rmtree(experiment.folder(stage), ignore_errors=True)
            logged = execute(stage, experiment)
    for stage in STAGES[len(stages_up_to(last)) :]:
        # Made from files that were replaced: they belong to another experiment.
        if experiment.folder(stage).exists() and not is_computed(stage, experiment):
            shutil.rmtree(experiment.folder(stage))
    return logged
