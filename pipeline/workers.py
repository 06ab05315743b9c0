"""One training by several processes, on one machine or many: each holds a copy of the network and takes its share of every batch.

The chief runs the stages; the others follow it into the trainings, and write nothing. Who is who stands in the environment variable TF_CONFIG, as
TensorFlow wants it: {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; the one with index 0 is the chief.
"""

import importlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.sharing import TF_CONFIG_EXAMPLE, threads, worker_index

log = logging.getLogger(__name__)

_TRAININGS = ("train", "finetune")


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """TensorFlow's strategy, with what Keras 3 (3.15) asks of it and it does not give."""

    def reduce(self, reduce_op, value, axis=None):
        """As TensorFlow's; Keras also reduces a whole batch, to learn its shape, and the figures of a step, which have no axis."""
        if isinstance(value, tuple):
            return tuple(self.experimental_local_results(each)[0] for each in value)
        if axis == 0 and self.experimental_local_results(value)[0].shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)


_joined: list[Workers] = []


def join(config: Config) -> None:
    """Meet the other workers; before anything else that TensorFlow does. Waits for them.

    Raises:
        PipelineError: there is no TF_CONFIG.
    """
    if _joined:
        return
    if "TF_CONFIG" not in os.environ:
        raise PipelineError(
            f"hardware.strategy=multi_worker needs the environment variable TF_CONFIG: {TF_CONFIG_EXAMPLE}"
        )
    tf.config.threading.set_intra_op_parallelism_threads(threads(config.hardware.intra_op_threads))
    tf.config.threading.set_inter_op_parallelism_threads(threads(config.hardware.inter_op_threads))
    log.info("worker %d meets the others", worker_index())
    _joined.append(Workers())


def joined() -> Workers:
    """The strategy of all workers.

    Raises:
        PipelineError: they have not met.
    """
    if not _joined:
        raise PipelineError(
            "hardware.strategy=multi_worker: say python -m pipeline, or one stage's, on each machine; DVC and -m run single processes"
        )
    return _joined[0]


def lead(stage: str | None) -> None:
    """Say to the others, as the chief, which training begins now; None: there is no further one."""
    _agree(0 if stage is None else _TRAININGS.index(stage) + 1)


def follow(config: Config, folder: Path, backup: Callable[[str], Path]) -> None:
    """Take part in the chief's trainings until there is no further one; the files of each are thrown away.

    `backup` names the folder from which a training goes on.

    Raises:
        PipelineError: what the chief's stages raise.
    """
    while number := _agree(0):
        stage = _TRAININGS[number - 1]
        log.info("worker %d: %s begins", worker_index(), stage)
        with tempfile.TemporaryDirectory() as out:
            run = importlib.import_module(f"pipeline.{stage}").run
            run(config, folder, Path(out), lambda row: None, backup=backup(stage))


def _agree(number: int) -> int:
    """The chief's number, on each worker."""
    strategy = joined()
    # A GPU counts as a replica: each of the chief's tells it.
    told = tf.constant(number if worker_index() == 0 else 0)

    @tf.function
    def summed():
        return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", told))

    local = len(strategy.extended.worker_devices)
    return int(strategy.experimental_local_results(summed())[0]) // local
