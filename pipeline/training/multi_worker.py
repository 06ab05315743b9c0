"""Training by several processes: each has a copy of the network, and computes a part of every batch."""

import logging
import os

import tensorflow as tf

from pipeline.config import HardwareConfig
from pipeline.system.errors import PipelineError
from pipeline.system.machine import threads
from pipeline.system.processes import TF_CONFIG_EXAMPLE, worker_index

log = logging.getLogger(__name__)


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """TensorFlow's strategy, made to work with Keras 3 (3.15)."""

    def reduce(self, reduce_op: tf.distribute.ReduceOp | str, value: object, axis: int | None = None) -> object:
        """Reduce as TensorFlow does; Keras also reduces whole batches, and a step's figures without an axis."""
        if isinstance(value, tuple):
            return tuple(self.experimental_local_results(each)[0] for each in value)
        if axis == 0 and self.experimental_local_results(value)[0].shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)


_joined: list[Workers] = []


def join(hardware: HardwareConfig) -> None:
    """Connect to the other workers, and wait for them; before anything else that TensorFlow does.

    Raises:
        PipelineError: TF_CONFIG is not set.
    """
    if _joined:
        return
    if "TF_CONFIG" not in os.environ:
        raise PipelineError(
            f"hardware.strategy=multi_worker needs the environment variable TF_CONFIG: {TF_CONFIG_EXAMPLE}"
        )
    tf.config.threading.set_intra_op_parallelism_threads(threads(hardware.intra_op_threads))
    tf.config.threading.set_inter_op_parallelism_threads(threads(hardware.inter_op_threads))
    log.info("worker %d: connecting to the others", worker_index())
    _joined.append(Workers())


def joined() -> Workers:
    """Return the strategy of all workers.

    Raises:
        PipelineError: this process has not joined them.
    """
    if not _joined:
        raise PipelineError(
            "hardware.strategy=multi_worker: run python -m pipeline, or one stage's command, on each machine; DVC and "
            "-m run single processes"
        )
    return _joined[0]


def broadcast(number: int) -> int:
    """Return the chief's number, on each worker."""
    strategy = joined()
    summand = tf.constant(number if worker_index() == 0 else 0)

    @tf.function
    def total() -> object:
        return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", summand))

    # Each of the chief's GPUs is a replica, and adds the number once.
    replicas = len(strategy.extended.worker_devices)
    return int(strategy.experimental_local_results(total())[0]) // replicas
