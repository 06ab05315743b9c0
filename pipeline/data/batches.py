"""Batches for `fit`: which pictures come when is a function of seed and epoch; what they are, of picture and view."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.data.pictures import Pictures
from pipeline.data.views import apply_transforms, view_transforms

Plan = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Inputs(Protocol):
    """What a network is fed: an array for each picture in each view."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def take(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        """For integer arrays [b], the batch [b, *shape]."""


class PictureInputs:
    """Pictures themselves, uint8 [size, size, 3], augmented as their view says."""

    dtype = np.dtype(np.uint8)

    def __init__(self, pictures: Pictures, augment: AugmentConfig, seed: int, views: int):
        """`views` counts the plain one."""
        self.shape = (pictures.size, pictures.size, 3)
        self._pictures = pictures
        self._transforms = np.stack(
            [view_transforms(augment, len(pictures), pictures.size, seed, view) for view in range(views)]
        )

    def take(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        plain = self._pictures[indices]
        if not views.any():
            return plain
        # Input pipelines belong on the CPU; outside a graph TensorFlow would take a GPU.
        with tf.device("CPU:0"):
            return apply_transforms(plain, self._transforms[views, indices]).numpy()


class FeatureInputs:
    """What the frozen part computed: float32 [views, n, ...]."""

    def __init__(self, features: np.ndarray):
        self.shape, self.dtype = features.shape[2:], features.dtype
        self._features = features

    def take(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        return self._features[views, indices]


def shuffled(count: int, views: int, seed: int) -> Plan:
    """Each epoch all of `count` pictures in an order of its own, each in the view that follows its last one."""

    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return order, (order + epoch) % views

    return plan


def in_order(count: int, view: int = 0) -> Plan:
    """All pictures as they come, in one view."""
    return lambda _epoch: (np.arange(count), np.full(count, view))


def batches(
    inputs: Inputs, labels: np.ndarray, class_count: int, batch_size: int, plan: Plan, epochs: range = range(1)
) -> tf.data.Dataset:
    """Pairs of inputs [b, ...] and one-hot labels float32 [b, class_count], for the given epochs one after the other.

    A batch never spans two epochs, so each has ceil(n / batch_size) of them.
    """

    def one_epoch(epoch):
        pairs = tf.numpy_function(
            lambda number: np.stack(plan(int(number)), axis=1).astype(np.int64), [epoch], tf.int64, stateful=False
        )
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(pairs, (None, 2))).batch(batch_size)

    def load(pairs):
        indices, views = pairs[:, 0], pairs[:, 1]
        batch = tf.numpy_function(inputs.take, [indices, views], tf.as_dtype(inputs.dtype), stateful=False)
        return tf.ensure_shape(batch, (None, *inputs.shape)), tf.one_hot(tf.gather(labels, indices), class_count)

    pairs = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    loaded = pairs.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # Keras takes a data set of unknown length for one that ended too early.
    known = tf.data.experimental.assert_cardinality(len(epochs) * math.ceil(len(labels) / batch_size))
    return loaded.apply(known).prefetch(tf.data.AUTOTUNE)
