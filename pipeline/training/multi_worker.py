"""One training by several processes: each holds a copy of the network and takes its share of every batch."""

import logging
import os

import tensorflow as tf

from pipeline.config import HardwareConfig
from pipeline.system.environment import TF_CONFIG_EXAMPLE, worker_index
from pipeline.system.errors import PipelineError
from pipeline.system.machine import threads

log = logging.getLogger(__name__)


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


def join(hardware: HardwareConfig) -> None:
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
    tf.config.threading.set_intra_op_parallelism_threads(threads(hardware.intra_op_threads))
    tf.config.threading.set_inter_op_parallelism_threads(threads(hardware.inter_op_threads))
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


def broadcast(number: int) -> int:
    """The chief's number, on each worker."""
    strategy = joined()
    # A GPU counts as a replica: each of the chief's tells it.
    told = tf.constant(number if worker_index() == 0 else 0)

    @tf.function
    def summed():
        return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", told))

    local = len(strategy.extended.worker_devices)
    return int(strategy.experimental_local_results(summed())[0]) // local
