"""Frozen work: what the frozen part of a network makes of each picture, computed once where memory allows."""

import logging

import keras
import numpy as np
import tensorflow as tf

from pipeline.data.batches import FeatureInputs, Inputs, batches, in_order
from pipeline.data.pictures import GIB
from pipeline.terminal import progress

log = logging.getLogger(__name__)


def worth_keeping(frozen: keras.Model, images: int, memory_gib: float) -> bool:
    """Whether the outputs of `frozen` for so many images, each view counted, are to be computed once and kept."""
    if not frozen.weights:
        return False
    needed = images * int(np.prod(frozen.output.shape[1:])) * np.dtype(np.float32).itemsize
    if needed > memory_gib * GIB:
        log.warning(
            "Frozen outputs for %d images would take %.1f GiB, more than hardware.feature_memory_gib=%g; computing them again in every epoch",
            images, needed / GIB, memory_gib,
        )  # fmt: skip
        return False
    return True


def frozen_outputs(
    frozen: keras.Model, inputs: Inputs, count: int, views: int, batch_size: int, title: str
) -> FeatureInputs:
    """The outputs of `frozen`, in inference mode, for `count` pictures in each of `views` views, as float32."""
    # Outside any replica, so that a mirrored strategy does not run each batch on every device.
    pixels = tf.TensorSpec((None, *inputs.shape), tf.as_dtype(inputs.dtype))
    infer = tf.function(lambda batch: tf.cast(frozen(batch, training=False), tf.float32), input_signature=[pixels])
    features = np.empty((views, count, *frozen.output.shape[1:]), np.float32)
    no_labels = np.zeros(count, np.int64)
    with progress(title, count * views) as advance:
        for view in range(views):
            start = 0
            for batch, _ in batches(inputs, no_labels, 1, batch_size, in_order(count, view)):
                features[view, start : start + len(batch)] = infer(batch)
                start += len(batch)
                advance(len(batch))
    return FeatureInputs(features)


class FrozenBelow(keras.Model):
    """A network in training whose lower part is frozen.

    The frozen part runs in inference mode, its dropout and BatchNormalization included; inside one functional model Keras 3 would
    run it in training mode whatever `training` its call was given.
    """

    def __init__(self, frozen: keras.Model, trainable: keras.Model):
        super().__init__()
        self.frozen = frozen
        self.trainable_part = trainable

    def call(self, inputs, training=None):
        return self.trainable_part(self.frozen(inputs, training=False), training=training)
