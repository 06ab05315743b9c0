"""All stages in one process: `python -m pipeline`, or with -m a sweep over the whole pipeline. The one place that knows their order."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main(None)

import logging
import shutil
from pathlib import Path

from filelock import FileLock

from pipeline.config import Config
from pipeline.execution import execute, is_done
from pipeline.identity import experiment_key

log = logging.getLogger(__name__)

STAGES = ("prepare", "train", "finetune", "evaluate")


def run_through(last: str | None, config: Config, folder: Path, sweep: bool) -> None:
    """Run the stages up to `last` (None: all) in a job's folder; those whose files are there are not run again.

    A single run always runs what it was asked for; in a sweep a job that is complete is skipped. Two processes with the same
    experiment take turns.
    """
    wanted = STAGES if last is None else (last,)
    # Once, so that pictures which arrive meanwhile do not make it two experiments.
    key = experiment_key(config)
    with FileLock(f"{folder}.lock"):
        for index, stage in enumerate(STAGES[: STAGES.index(wanted[-1]) + 1]):
            if is_done(folder / stage, key) and (sweep or stage not in wanted):
                log.info("%s is done: %s", stage, folder / stage)
                continue
            for later in STAGES[index + 1 :]:
                # What was made from the files that this stage replaces.
                shutil.rmtree(folder / later, ignore_errors=True)
            execute(stage, config, folder, key)
