"""MixUp and CutMix: images of a batch mixed with one another, and their labels alike.

Keras's layers of these names draw from a state; here a batch's draws are a function of seed, epoch and its number.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.inputs.augmentation_ops import inside

# A stream of random numbers that no other draws are from.
_MIXING = 5


@dataclass(frozen=True, eq=False)
class Mixing:
    """Mixes images and labels of a batch by MixUp or CutMix; with both, each batch draws one of them."""

    augment: AugmentConfig
    """At least one of `mixup` and `cutmix` is above 0."""
    seed: int
    """Of all draws."""

    def __call__(
        self, images: tf.Tensor, targets: tf.Tensor, epoch: tf.Tensor, batch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix a batch within a graph.

        Args:
            images: uint8 [b, size, size, 3].
            targets: float32 [b, classes].
            epoch: integer [].
            batch: its number in the epoch, integer [].
        """
        size = images.shape[1]
        order, fraction, boxes = tf.numpy_function(
            lambda count, *key: self.draw(int(count), size, *map(int, key)),
            [tf.shape(targets)[0], epoch, batch], [tf.int64, tf.float32, tf.bool], stateful=False,
        )  # fmt: skip
        order, fraction = tf.ensure_shape(order, (None,)), tf.ensure_shape(fraction, (None,))
        boxes = tf.ensure_shape(boxes, (None, size, size, 1))
        others = tf.gather(images, order)
        if self.augment.cutmix:
            images = tf.where(boxes, others, images)
        if self.augment.mixup:
            # No MixUp where CutMix has replaced a rectangle.
            opacity = tf.where(tf.reduce_any(boxes, axis=(1, 2, 3)), 1.0, fraction)
            opacity = opacity[:, None, None, None]
            mixed = opacity * tf.cast(images, tf.float32) + (1 - opacity) * tf.cast(others, tf.float32)
            images = tf.cast(tf.round(mixed), images.dtype)
        fraction = fraction[:, None]
        return images, fraction * targets + (1 - fraction) * tf.gather(targets, order)

    def draw(self, count: int, size: int, epoch: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw how the images of a batch are mixed.

        Returns:
            for each image the index of the other one, int64 [b], the fraction that is its own, float32 [b], and the
            pixels that CutMix replaces, bool [b, size, size, 1].

        Sources: H. Zhang et al., mixup (2018); S. Yun et al., CutMix (2019).
        """
        draws = np.random.default_rng([self.seed, epoch, batch, _MIXING])
        order = draws.permutation(count)
        cuts = self.augment.cutmix and (not self.augment.mixup or draws.random() < 0.5)
        parameter = self.augment.cutmix if cuts else self.augment.mixup
        fraction = draws.beta(parameter, parameter, count)
        side = np.sqrt(1 - fraction)[:, None] * bool(cuts) * [1.0, 1.0]
        first = draws.random((count, 2)) * (1 - side)
        boxes = inside(size * np.stack([first, first + side], axis=2).reshape(-1, 4), size)
        if cuts:
            fraction = 1 - boxes.mean(axis=(1, 2, 3))
        return order, fraction.astype(np.float32), boxes
