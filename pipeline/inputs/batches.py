"""Batches of network inputs, whose order depends only on the seed and the epoch."""

import math
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Protocol

import numpy as np
import tensorflow as tf

from pipeline.inputs.augmentation import Augmentation, Mixing
from pipeline.inputs.images import DecodedImages
from pipeline.storage.shards import Rows, aligned_empty

# Number of batches that are loaded at once, and of those that wait for their use.
_AHEAD = 4
_OPTIONS = tf.data.Options()
# The autotuning thread can delay the end of an iterator: by 17 seconds after 30 seconds of training (TensorFlow 2.21).
_OPTIONS.autotune.enabled = False

# Threads that load the batches of all data sets.
_THREADS = ThreadPoolExecutor(_AHEAD, "batches")

Plan = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Function from an epoch, counted from 0, to the indices of its inputs and their variant numbers, int [n] each."""


class VariantsByNumber(Protocol):
    """Variants of images by number, as a list or `pipeline.inputs.augmentation.Variants`."""

    def __getitem__(self, number: int) -> Augmentation | None:
        """Return the augmentation of a variant, or None for the unchanged images."""


class Inputs(Protocol):
    """Inputs of a network, with one array for each image and variant."""

    shape: tuple[int, ...]
    """Shape of one input."""
    dtype: np.dtype
    """Dtype of the inputs."""

    def __len__(self) -> int:
        """Return the number of images."""

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        """Return a batch, [b, *shape], of the images at `indices`, int [b], in the variants `variants`, int [b]."""


class ImageInputs:
    """Decoded images, uint8 [h, w, 3], augmented by variant."""

    dtype = np.dtype(np.uint8)

    def __init__(self, images: DecodedImages, indices: np.ndarray, variants: VariantsByNumber):
        """Select the images at `indices`, integer [n]; each variant has parameters for these n images."""
        self.shape: tuple[int, ...] = images.shape
        self._images, self._indices, self._variants = images, indices, variants

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        """Return a batch of images; see `Inputs.take`."""
        batch = self._images.take(self._indices[indices])
        for number in np.unique(variants):
            if (variant := self._variants[number]) is not None:
                here = variants == number
                with tf.device(_augmenting_device()):
                    batch[here] = variant.select(indices[here]).apply(batch[here])
        return batch


def _augmenting_device() -> str:
    """Return the device that transforms images: the first GPU, which takes less time for it than many cores."""
    return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"


class FeatureInputs:
    """Cached features of images, by variant."""

    def __init__(self, variants: Sequence[tuple[Rows, np.ndarray]]):
        """Combine variants; each is a pair of the cached rows and the row number of each image, integer [n]."""
        self.shape, self.dtype = variants[0][0].shape, variants[0][0].dtype
        self._variants = variants

    def __len__(self) -> int:
        return len(self._variants[0][1])

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        """Return a batch of features; see `Inputs.take`."""
        if (variants == variants[0]).all():
            rows, row_of = self._variants[variants[0]]
            return rows.take(row_of[indices])
        batch = aligned_empty((len(indices), *self.shape), self.dtype)
        for number in np.unique(variants):
            rows, row_of = self._variants[number]
            places = np.flatnonzero(variants == number)
            rows.copy(row_of[indices[places]], batch, places)
        return batch


@dataclass(frozen=True, eq=False)
class Labels:
    """One-hot labels of images, with optional mixing and label smoothing."""

    indices: np.ndarray
    """Class index of each image, int [n]."""
    class_count: int
    """Number of classes."""
    smoothing: float = 0.0
    """Fraction of each label that is distributed equally over all classes."""
    mixing: Mixing | None = None
    """Mixing of images and labels, or None for no mixing."""

    def attach(
        self, batch: tf.Tensor, indices: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a batch with its labels, float32 [b, classes], both mixed if configured, inside a TensorFlow graph.

        Args:
            batch: Inputs, [b, ...].
            indices: Indices of the images, int64 [b].
            epoch: Number of the epoch, int64 [].
            number: Number of the batch in the epoch, int64 [].
        """
        targets = tf.one_hot(tf.gather(self.indices, indices), self.class_count)
        if self.mixing:
            batch, targets = self.mixing(batch, targets, epoch, number)
        if self.smoothing:
            targets = targets * (1 - self.smoothing) + self.smoothing / targets.shape[-1]
        return batch, targets


def shuffled(count: int, variants: int | None, seed: int) -> Plan:
    """Plan epochs of all images in random order, with another variant of each image in successive epochs.

    Args:
        count: Number of images.
        variants: Number of variants of each image, which are used in turn; None for a new variant in each epoch.
        seed: Random seed.
    """

    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return order, _variant_numbers(order, epoch, variants)

    return plan


def _variant_numbers(order: np.ndarray, turn: int | np.ndarray, variants: int | None) -> np.ndarray:
    return order * 0 + turn + 1 if variants is None else (order + turn) % variants


def balanced(labels: np.ndarray, variants: int | None, seed: int) -> Plan:
    """Plan epochs with the same number of images of each class.

    Each epoch contains a random sample of a large class. Images of a small class are repeated within an epoch, each
    time in another variant.

    Args:
        labels: Class index of each image, int [n]; an epoch also has n images.
        variants: Number of variants of each image, which are used in turn; None for a new variant each time.
        seed: Random seed.
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
    """Plan epochs of all images in order, each in variant 0."""
    return lambda _epoch: (np.arange(count), np.zeros(count, np.int64))


class _ReadAhead:
    """Batches by their position over all epochs, of which the following ones are loaded in threads meanwhile.

    TensorFlow calls Python functions of a data set one after the other if operations have to be deterministic. Here the
    order of loading has no effect: a batch depends on its position alone.
    """

    def __init__(self, inputs: Inputs, plan: Plan, batch_size: int, epochs: range):
        """Take the same arguments as `batches`."""
        self.steps = math.ceil(len(inputs) / batch_size)
        """Number of batches in an epoch."""
        self._inputs, self._batch_size, self._epochs = inputs, batch_size, epochs
        self._order = lru_cache(maxsize=2)(plan)
        self._loading: dict[int, Future[np.ndarray]] = {}
        self._lock = Lock()

    def take(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the batch at a position, int64 [], as inputs, [b, ...], and indices of the images, int64 [b]."""
        first, end = int(position), len(self._epochs) * self.steps
        with self._lock:
            for following in range(first, min(first + _AHEAD, end)):
                if following not in self._loading:
                    self._loading[following] = _THREADS.submit(self._inputs.take, *self._part(following))
            indices, _ = self._part(first)
            loading = self._loading.pop(first)
        return loading.result(), indices.astype(np.int64)

    def _part(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices and variants of the inputs at a position, int [b] each."""
        epoch, number = divmod(position, self.steps)
        part = slice(number * self._batch_size, (number + 1) * self._batch_size)
        indices, variants = self._order(self._epochs[epoch])
        return indices[part], variants[part]


def batches(
    inputs: Inputs, plan: Plan, batch_size: int, *, epochs: range = range(1), labels: Labels | None = None
) -> tf.data.Dataset:
    """Return the batches of successive epochs.

    Args:
        inputs: Inputs to divide into batches.
        plan: Order of the inputs in each epoch, with as many entries as there are inputs.
        batch_size: Number of inputs per batch. No batch spans two epochs, so the last batch of an epoch may be smaller.
        epochs: Numbers of the epochs, from 0.
        labels: Labels of the inputs, or None for batches without labels.

    Returns:
        Data set of inputs, [b, ...], or of pairs of inputs and labels, float32 [b, classes].
    """
    ahead = _ReadAhead(inputs, plan, batch_size, epochs)
    steps, owned = ahead.steps, weakref.ref(ahead)

    def take(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reader = owned()
        if reader is None:
            # The data set is used no more.
            raise StopIteration
        return reader.take(position)

    def load(position: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        kinds = (tf.as_dtype(inputs.dtype), tf.int64)
        batch, indices = tf.numpy_function(take, [position], kinds, stateful=False)
        batch, indices = tf.ensure_shape(batch, (None, *inputs.shape)), tf.ensure_shape(indices, (None,))
        if not labels:
            return batch
        return labels.attach(batch, indices, epochs.start + position // steps, position % steps)

    data = tf.data.Dataset.range(len(epochs) * steps).map(load).prefetch(_AHEAD).with_options(_OPTIONS)
    # TensorFlow keeps Python functions until the process ends. So the data set owns what they read, with its batches.
    data.ahead = ahead
    return data
