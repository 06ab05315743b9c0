"""One job by several processes: the chief runs the stages, the other workers take part in its trainings."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.jobs.stage import Experiment, run_body
from pipeline.stages import TRAININGS
from pipeline.system.processes import worker_index
from pipeline.training.multi_worker import broadcast, join

__all__ = ["join", "run_worker"]

log = logging.getLogger(__name__)


def run_worker(experiment: Experiment, checkpoints: Callable[[str], Path]) -> None:
    """Take part in the chief's trainings until there is no further one; delete their files.

    Args:
        experiment: the chief's.
        checkpoints: names the folder from which a training resumes.

    Raises:
        PipelineError: an error of the chief's stages.
    """
    while number := broadcast(0):
        stage = TRAININGS[number - 1]
        log.info("worker %d: %s started", worker_index(), stage)
        with tempfile.TemporaryDirectory() as out:
            run_body(stage, experiment, Path(out), lambda _row: None, checkpoints(stage))
