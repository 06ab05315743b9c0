"""Batches for `fit`: which images come when is a function of seed and epoch; what they are, of image and view."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from pipeline.inputs.augmentation import View
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.mixup import Softening
from pipeline.storage.shards import Rows

# Batches that are loaded while one is computed with.
_AHEAD = 4
_OPTIONS = tf.data.Options()
# Tuning takes a thread that can hold up the end of an iterator until its next look, 17 seconds after a fine-tuning of 30 (TensorFlow 2.21).
_OPTIONS.autotune.enabled = False

Plan = Callable[[int], tuple[np.ndarray, np.ndarray]]


class ViewsByNumber(Protocol):
    """What happens to images in each view, a list or `pipeline.inputs.augmentation.Views`."""

    def __getitem__(self, view: int) -> View | None:
        """None: nothing."""


class Inputs(Protocol):
    """What a network is fed: an array for each image in each view."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def take(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        """For integer arrays [b], the batch [b, *shape]."""


class ImageInputs:
    """Images themselves, uint8 [size, size, 3], augmented as their view says."""

    dtype = np.dtype(np.uint8)

    def __init__(self, images: DecodedImages, places: np.ndarray, views: ViewsByNumber):
        """`places` among the images, integer [n], which are what a view has rows of."""
        self.shape = (images.size, images.size, 3)
        self._images, self._places, self._views = images, places, views

    def take(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        batch = self._images.take(self._places[indices])
        for view in np.unique(views):
            if (drawn := self._views[view]) is not None:
                here = views == view
                # Input pipelines belong on the CPU; outside a graph TensorFlow would take a GPU.
                with tf.device("CPU:0"):
                    batch[here] = drawn.of(indices[here]).apply(batch[here])
        return batch


class FeatureInputs:
    """What the frozen part computed, by view."""

    def __init__(self, views: Sequence[tuple[Rows, np.ndarray]]):
        """For each view the rows, and the place of each image among them, integer [n]."""
        self.shape, self.dtype = views[0][0].shape, views[0][0].dtype
        self._views = views

    def take(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        if (views == views[0]).all():
            rows, places = self._views[views[0]]
            return rows.take(places[indices])
        batch = np.empty((len(indices), *self.shape), self.dtype)
        for view in np.unique(views):
            rows, places = self._views[view]
            here = views == view
            batch[here] = rows.take(places[indices[here]])
        return batch


def shuffled(count: int, views: int | None, seed: int) -> Plan:
    """Each epoch all of `count` images in an order of its own, each in the view that follows its last one; `views` None: all in a new one."""

    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return order, _views(order, epoch, views)

    return plan


def _views(order: np.ndarray, turn: int | np.ndarray, views: int | None) -> np.ndarray:
    return order * 0 + turn + 1 if views is None else (order + turn) % views


def balanced(labels: np.ndarray, views: int | None, seed: int) -> Plan:
    """As `shuffled`, but each epoch has as many images of each class: of a large class other ones each time, of a small one some repeatedly, then in
    another view.

    Args:
        labels: class indices, int [n]; an epoch has n images as well.
        views: of each image; None: without end.
        seed: of all draws.
    """
    classes, count = np.unique(labels), len(labels)
    members = [np.flatnonzero(labels == each) for each in classes]

    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        draws = np.random.default_rng([seed, epoch])
        of_class = draws.permutation(np.arange(count) % len(classes))
        order, times = np.empty(count, np.int64), np.empty(count, np.int64)
        for number, own in enumerate(members):
            here = np.flatnonzero(of_class == number)
            rounds = math.ceil(len(here) / len(own))
            order[here] = np.concatenate([draws.permutation(own) for _ in range(rounds)])[: len(here)]
            times[here] = np.arange(len(here)) // len(own)
        return order, _views(order, epoch + times, views)

    return plan


def in_order(count: int, view: int = 0) -> Plan:
    """All images as they come, in one view."""
    return lambda _epoch: (np.arange(count), np.full(count, view))


def batches(
    inputs: Inputs,
    labels: np.ndarray,
    class_count: int,
    batch_size: int,
    plan: Plan,
    epochs: range = range(1),
    soften: Softening | None = None,
) -> tf.data.Dataset:
    """Pairs of inputs [b, ...] and one-hot labels float32 [b, class_count], for the given epochs one after the other.

    A batch never spans two epochs, so each has ceil(n / batch_size) of them. `soften` mixes images and labels.
    """

    def one_epoch(epoch):
        pairs = tf.numpy_function(
            lambda number: np.stack(plan(int(number)), axis=1).astype(np.int64), [epoch], tf.int64, stateful=False
        )
        parts = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(pairs, (None, 2))).batch(batch_size)
        return tf.data.Dataset.zip(tf.data.Dataset.from_tensors(epoch).repeat(), parts.enumerate())

    def load(epoch, numbered):
        number, pairs = numbered
        indices, views = pairs[:, 0], pairs[:, 1]
        batch = tf.numpy_function(inputs.take, [indices, views], tf.as_dtype(inputs.dtype), stateful=False)
        batch = tf.ensure_shape(batch, (None, *inputs.shape))
        targets = tf.one_hot(tf.gather(labels, indices), class_count)
        return soften(batch, targets, epoch, number) if soften else (batch, targets)

    pairs = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    loaded = pairs.map(load, num_parallel_calls=_AHEAD, deterministic=True)
    # Keras takes a data set of unknown length for one that ended too early.
    known = tf.data.experimental.assert_cardinality(len(epochs) * math.ceil(len(labels) / batch_size))
    return loaded.apply(known).prefetch(_AHEAD).with_options(_OPTIONS)
