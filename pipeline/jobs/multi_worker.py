"""The chief runs the stages; the other workers follow it into the trainings, and write nothing."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config
from pipeline.jobs.stage import stage_body
from pipeline.system.environment import worker_index
from pipeline.training.multi_worker import broadcast, join

__all__ = ["follow", "join", "lead"]

log = logging.getLogger(__name__)

_TRAININGS = ("train", "finetune")


def lead(stage: str | None) -> None:
    """Say to the others, as the chief, which training begins now; None: there is no further one."""
    broadcast(0 if stage is None else _TRAININGS.index(stage) + 1)


def follow(config: Config, folder: Path, backup: Callable[[str], Path]) -> None:
    """Take part in the chief's trainings until there is no further one; the files of each are thrown away.

    `backup` names the folder from which a training goes on.

    Raises:
        PipelineError: what the chief's stages raise.
    """
    while number := broadcast(0):
        stage = _TRAININGS[number - 1]
        log.info("worker %d: %s begins", worker_index(), stage)
        with tempfile.TemporaryDirectory() as out:
            stage_body(stage).run(config, folder, Path(out), lambda row: None, backup=backup(stage))
