"""Batches of inputs: their order is a function of seed and epoch, their content of image and variant."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from pipeline.inputs.augmentation import Augmentation, Mixing
from pipeline.inputs.images import DecodedImages
from pipeline.storage.shards import Rows

# Batches that are loaded ahead.
_AHEAD = 4
_OPTIONS = tf.data.Options()
# Its thread can delay the end of an iterator: 17 seconds after a fine-tuning of 30 (TensorFlow 2.21).
_OPTIONS.autotune.enabled = False

Plan = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Maps an epoch, from 0, to the indices of its inputs in order, and the number of each one's variant: int [n] each."""


class VariantsByNumber(Protocol):
    """Variants of images: a list, or `pipeline.inputs.augmentation.Variants`."""

    def __getitem__(self, number: int) -> Augmentation | None:
        """Return a variant; None: the plain images."""


class Inputs(Protocol):
    """Inputs of a network: an array for each image in each variant."""

    shape: tuple[int, ...]
    """Of one input."""
    dtype: np.dtype
    """Of the arrays."""

    def __len__(self) -> int:
        """Return the number of images."""

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        """Return a batch [b, *shape] of the images at `indices`, int [b], in the variants of these numbers, int [b]."""


class ImageInputs:
    """Images, uint8 [size, size, 3], augmented by variant."""

    dtype = np.dtype(np.uint8)

    def __init__(self, images: DecodedImages, indices: np.ndarray, variants: VariantsByNumber):
        """Choose the images at `indices`, integer [n]; `variants` have n rows each."""
        self.shape: tuple[int, ...] = (images.size, images.size, 3)
        self._images, self._indices, self._variants = images, indices, variants

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        """Return a batch, see `Inputs.take`."""
        batch = self._images.take(self._indices[indices])
        for number in np.unique(variants):
            if (variant := self._variants[number]) is not None:
                here = variants == number
                # Input pipelines belong on the CPU; outside a graph TensorFlow would use a GPU.
                with tf.device("CPU:0"):
                    batch[here] = variant.select(indices[here]).apply(batch[here])
        return batch


class FeatureInputs:
    """Cached features, by variant."""

    def __init__(self, variants: Sequence[tuple[Rows, np.ndarray]]):
        """Combine variants; each has its rows, and the index of each image among them, integer [n]."""
        self.shape, self.dtype = variants[0][0].shape, variants[0][0].dtype
        self._variants = variants

    def __len__(self) -> int:
        return len(self._variants[0][1])

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        """Return a batch, see `Inputs.take`."""
        if (variants == variants[0]).all():
            rows, row_of = self._variants[variants[0]]
            return rows.take(row_of[indices])
        batch = np.empty((len(indices), *self.shape), self.dtype)
        for number in np.unique(variants):
            rows, row_of = self._variants[number]
            here = variants == number
            batch[here] = rows.take(row_of[indices[here]])
        return batch


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the images of a batch: one-hot, mixed and smoothed."""

    indices: np.ndarray
    """Class index of each image, int [n]."""
    class_count: int
    """Number of classes."""
    smoothing: float = 0.0
    """Fraction of each label that is spread over all classes."""
    mixing: Mixing | None = None
    """Mixes images and labels; None: they are not mixed."""

    def attach(
        self, batch: tf.Tensor, indices: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a batch, mixed, and its labels float32 [b, classes], within a graph.

        Args:
            batch: [b, ...].
            indices: of its images, int64 [b].
            epoch: int64 [].
            number: of the batch in the epoch, int64 [].
        """
        targets = tf.one_hot(tf.gather(self.indices, indices), self.class_count)
        if self.mixing:
            batch, targets = self.mixing(batch, targets, epoch, number)
        if self.smoothing:
            targets = targets * (1 - self.smoothing) + self.smoothing / targets.shape[-1]
        return batch, targets


def shuffled(count: int, variants: int | None, seed: int) -> Plan:
    """Plan epochs of all images, each epoch in an order of its own, each image in another variant than in the last one.

    Args:
        count: how many images.
        variants: of each image, used in turn; None: a new one each epoch.
        seed: of all draws.
    """

    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return order, _variant_numbers(order, epoch, variants)

    return plan


def _variant_numbers(order: np.ndarray, turn: int | np.ndarray, variants: int | None) -> np.ndarray:
    return order * 0 + turn + 1 if variants is None else (order + turn) % variants


def balanced(labels: np.ndarray, variants: int | None, seed: int) -> Plan:
    """Plan epochs with equally many images of each class.

    Of a large class each epoch has other images; of a small one it has some repeatedly, in another variant each time.

    Args:
        labels: class indices, int [n]; an epoch has n images as well.
        variants: of each image, used in turn; None: a new one each time.
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
        return order, _variant_numbers(order, epoch + times, variants)

    return plan


def in_order(count: int) -> Plan:
    """Plan epochs of all images in order, each as its variant 0."""
    return lambda _epoch: (np.arange(count), np.zeros(count, np.int64))


def batches(
    inputs: Inputs, plan: Plan, batch_size: int, *, epochs: range = range(1), labels: Labels | None = None
) -> tf.data.Dataset:
    """Return the batches of some epochs, one after the other.

    Args:
        inputs: of which batches are made.
        plan: the order of the inputs in each epoch; it has as many as there are inputs.
        batch_size: inputs per batch. No batch spans two epochs, so that the last one of each may be smaller.
        epochs: that are planned.
        labels: None: batches have none.

    Returns:
        inputs [b, ...], or pairs of them and labels float32 [b, classes].
    """

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        pairs = tf.numpy_function(
            lambda number: np.stack(plan(int(number)), axis=1).astype(np.int64), [epoch], tf.int64, stateful=False
        )
        parts = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(pairs, (None, 2))).batch(batch_size)
        return tf.data.Dataset.zip(tf.data.Dataset.from_tensors(epoch).repeat(), parts.enumerate())

    def load(epoch: tf.Tensor, numbered: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        number, pairs = numbered
        indices, variants = pairs[:, 0], pairs[:, 1]
        batch = tf.numpy_function(inputs.take, [indices, variants], tf.as_dtype(inputs.dtype), stateful=False)
        batch = tf.ensure_shape(batch, (None, *inputs.shape))
        return labels.attach(batch, indices, epoch, number) if labels else batch

    planned = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    loaded = planned.map(load, num_parallel_calls=_AHEAD, deterministic=True)
    # Keras warns that a data set of unknown length ended too early.
    sized = tf.data.experimental.assert_cardinality(len(epochs) * math.ceil(len(inputs) / batch_size))
    return loaded.apply(sized).prefetch(_AHEAD).with_options(_OPTIONS)
