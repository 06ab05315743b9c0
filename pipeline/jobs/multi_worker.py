"""One job by several processes: the chief runs the stages, the other workers follow it into the trainings and write nothing."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.jobs.stage import Experiment, run_body
from pipeline.stages import TRAININGS
from pipeline.system.environment import worker_index
from pipeline.training.multi_worker import broadcast, join

__all__ = ["announce_stage", "join", "run_worker"]

log = logging.getLogger(__name__)


def announce_stage(stage: str | None) -> None:
    """Tell the other workers, as the chief, which training begins now; None: there is no further one."""
    broadcast(0 if stage is None else TRAININGS.index(stage) + 1)


def run_worker(experiment: Experiment, checkpoints: Callable[[str], Path]) -> None:
    """Take part in the chief's trainings until there is no further one; the files of each are thrown away.

    Args:
        experiment: the chief's.
        checkpoints: names the folder from which a training resumes.

    Raises:
        PipelineError: what the chief's stages raise.
    """
    while number := broadcast(0):
        stage = TRAININGS[number - 1]
        log.info("worker %d: %s started", worker_index(), stage)
        with tempfile.TemporaryDirectory() as out:
            run_body(stage, experiment, Path(out), lambda row: None, checkpoints(stage))
