"""The order of the stages, and a job that runs them."""

import logging
import shutil
from functools import partial
from pathlib import Path

from filelock import FileLock

from pipeline.config import Config
from pipeline.jobs.identity import experiment_key
from pipeline.jobs.stage import execute, is_computed, is_done, remove_leftover_checkpoint, resume_folder
from pipeline.system.environment import worker_index
from pipeline.system.errors import UndeliveredError

log = logging.getLogger(__name__)

STAGES = ("prepare", "train", "finetune", "evaluate")


def is_complete(last: str | None, folder: Path, key: str) -> bool:
    """Whether a job's folder holds all that the stages up to `last` (None: all) make for the experiment with this key."""
    return all(is_done(folder / stage, key) for stage in _up_to(last))


def _up_to(last: str | None) -> tuple[str, ...]:
    return STAGES if last is None else STAGES[: STAGES.index(last) + 1]


def run_through(last: str | None, config: Config, folder: Path, sweep: bool, key: str | None = None) -> None:
    """Run the stages up to `last` (None: all) in a job's folder; those whose files are there are not run again.

    What was cut off goes on. What is complete is skipped in a sweep; a single run then does again what it was asked for. Two processes with the same
    experiment take turns.
    """
    wanted = STAGES if last is None else (last,)
    # Once, so that images which arrive meanwhile do not make it two experiments.
    key = key or experiment_key(config)
    if config.hardware.strategy == "multi_worker":
        # TensorFlow is not imported before a training needs it.
        from pipeline.jobs.multi_worker import follow, join

        join(config)
        if worker_index():
            follow(config, folder, partial(resume_folder, config, key))
            return
    with FileLock(f"{folder}.lock", is_singleton=True):
        logged, repeats = True, not sweep and all(is_done(folder / stage, key) for stage in wanted)
        for index, stage in enumerate(_up_to(last)):
            if is_done(folder / stage, key) and not (repeats and stage in wanted):
                log.info("%s is done: %s", stage, folder / stage)
                remove_leftover_checkpoint(stage, config, key)
                continue
            if not is_computed(folder / stage, key) or is_done(folder / stage, key):
                for later in STAGES[index + 1 :]:
                    # What was made from the files that this stage replaces.
                    shutil.rmtree(folder / later, ignore_errors=True)
            logged = execute(stage, config, folder, key)
    if config.hardware.strategy == "multi_worker":
        from pipeline.jobs.multi_worker import lead

        lead(None)
    if not logged:
        raise UndeliveredError(
            f"tracking: all that was asked for is computed and lies whole in {folder}, and the tracking store is away; when it is back, "
            "`python -m pipeline.sync` delivers it, and so does the same command"
        )
