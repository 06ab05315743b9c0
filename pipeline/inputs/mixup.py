"""What makes labels soft: images mixed with one another, and smoothing.

Keras's MixUp and CutMix layers draw from a state; a batch's draws here are a function of seed, epoch and its number.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.inputs.augmentation_ops import inside

# Whose draws are none of a view's or an order's.
_MIXING = 5


@dataclass(frozen=True, eq=False)
class Softening:
    """Changes a batch of one epoch: pixels and labels by MixUp and CutMix, then labels by smoothing."""

    augment: AugmentConfig | None
    """None: images stay as they are."""
    smoothing: float
    """Share of each label that is spread over all classes."""
    seed: int

    def __call__(self, inputs: tf.Tensor, targets: tf.Tensor, epoch: tf.Tensor, batch: tf.Tensor):
        """Inputs [b, ...] and targets float32 [b, classes] of the given batch of an epoch, within a graph: the same, changed."""
        if self.augment is not None and self.augment.mixes:
            inputs, targets = self._mixed(inputs, targets, epoch, batch)
        if self.smoothing:
            targets = targets * (1 - self.smoothing) + self.smoothing / targets.shape[-1]
        return inputs, targets

    def _mixed(self, images, targets, epoch, batch):
        size = images.shape[1]
        order, share, boxes = tf.numpy_function(
            lambda count, *key: self.draw(int(count), size, *map(int, key)),
            [tf.shape(targets)[0], epoch, batch], [tf.int64, tf.float32, tf.bool], stateful=False,
        )  # fmt: skip
        order, share = tf.ensure_shape(order, (None,)), tf.ensure_shape(share, (None,))
        boxes = tf.ensure_shape(boxes, (None, size, size, 1))
        others = tf.gather(images, order)
        if self.augment.cutmix:
            images = tf.where(boxes, others, images)
        if self.augment.mixup:
            # Where a rectangle was taken over, nothing shines through.
            through = tf.where(tf.reduce_any(boxes, axis=(1, 2, 3)), 1.0, share)
            through = through[:, None, None, None]
            mixed = through * tf.cast(images, tf.float32) + (1 - through) * tf.cast(others, tf.float32)
            images = tf.cast(tf.round(mixed), images.dtype)
        share = share[:, None]
        return images, share * targets + (1 - share) * tf.gather(targets, order)

    def draw(self, count: int, size: int, epoch: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each image of a batch the other one, int64 [b], its own share, float32 [b], and what CutMix takes, bool [b, size, size, 1].

        Sources: H. Zhang et al., mixup (2018); S. Yun et al., CutMix (2019).
        """
        draws = np.random.default_rng([self.seed, epoch, batch, _MIXING])
        order = draws.permutation(count)
        cuts = self.augment.cutmix and (not self.augment.mixup or draws.random() < 0.5)
        parameter = self.augment.cutmix if cuts else self.augment.mixup
        share = draws.beta(parameter, parameter, count)
        side = np.sqrt(1 - share)[:, None] * bool(cuts) * [1.0, 1.0]
        first = draws.random((count, 2)) * (1 - side)
        boxes = inside(size * np.stack([first, first + side], axis=2).reshape(-1, 4), size)
        if cuts:
            share = 1 - boxes.mean(axis=(1, 2, 3))
        return order, share.astype(np.float32), boxes
