"""Time limit of the first step of a training on several devices, which hangs if they can't communicate."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

log = logging.getLogger(__name__)


@contextmanager
def first_step_limit(
    minutes: float | None, strategy: tf.distribute.Strategy
) -> Iterator[list[keras.callbacks.Callback]]:
    """End the process if the first step of a mirrored training takes too long.

    TensorFlow waits in native code, which no exception can end. An ended process can be resumed like a killed one.

    Args:
        minutes: Time limit; None for no limit.
        strategy: Distribution strategy; only mirrored ones on several devices have a limit.

    Yields:
        Callbacks of the training in this block.
    """
    devices = strategy.num_replicas_in_sync
    if minutes is None or devices == 1 or not isinstance(strategy, tf.distribute.MirroredStrategy):
        yield []
        return
    timer = threading.Timer(60 * minutes, _end, [minutes, devices])
    timer.daemon = True

    def step_ended(_step: int, logs: dict[str, float]) -> None:
        # GPUs compute in the background until a result is read.
        float(logs["loss"])
        timer.cancel()

    timer.start()
    try:
        yield [keras.callbacks.LambdaCallback(on_train_batch_end=step_ended)]
    finally:
        timer.cancel()


def _end(minutes: float, devices: int) -> None:
    log.error(
        "The first training step on %d devices has not ended after %g minutes (hardware.first_step_minutes): the "
        "devices do not communicate. Try NCCL_P2P_DISABLE=1, or one device: hardware.strategy=one_device. "
        "NCCL_DEBUG=INFO shows more", devices, minutes,
    )  # fmt: skip
    logging.shutdown()
    os._exit(1)
