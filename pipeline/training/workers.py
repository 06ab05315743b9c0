"""Workers of a distributed training: their distribution strategy, and numbers that the chief sends."""

import logging

import tensorflow as tf

from pipeline.system.errors import PipelineError
from pipeline.system.processes import worker_index

log = logging.getLogger(__name__)


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """Multi-worker strategy of TensorFlow, adapted to Keras 3 (3.15)."""

    def reduce(self, reduce_op: tf.distribute.ReduceOp | str, value: object, axis: int | None = None) -> object:
        """Reduce a value over all replicas; also accept the tuples and scalars that Keras passes."""
        if isinstance(value, tuple):
            return tuple(self.experimental_local_results(each)[0] for each in value)
        if axis == 0 and self.experimental_local_results(value)[0].shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)


_joined: list[Workers] = []


def is_connected() -> bool:
    """Return whether this process is connected to the other workers."""
    return bool(_joined)


def connect() -> None:
    """Connect to the other workers, and wait for them."""
    log.info("worker %d: connecting to the other workers", worker_index())
    _joined.append(Workers())


def joined() -> Workers:
    """Return the distribution strategy that connects all workers.

    Raises:
        PipelineError: This process has not connected to the other workers; see `pipeline.training.hardware.join`.
    """
    if not _joined:
        raise PipelineError(
            "hardware.strategy=multi_worker: this process is not connected to other workers. Run python -m pipeline, or "
            "one stage's command, on each machine; DVC and -m start only one process"
        )
    return _joined[0]


def broadcast(number: int) -> int:
    """Return the chief's `number` on every worker."""
    strategy = joined()
    summand = tf.constant(number if worker_index() == 0 else 0)

    @tf.function
    def total() -> object:
        return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", summand))

    # Each of the chief's GPUs is a replica, and adds the number once.
    replicas = len(strategy.extended.worker_devices)
    return int(strategy.experimental_local_results(total())[0]) // replicas
