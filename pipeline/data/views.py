"""Augmentation as numbered views: each view of a picture is a fixed, seeded function of its place in the training set."""

import keras
import numpy as np

from pipeline.config import AugmentConfig


def view_transforms(augment: AugmentConfig, count: int, size: int, seed: int, view: int) -> np.ndarray:
    """The affine transform of each of `count` pictures in one view, from 1 on; view 0 is the plain picture.

    Flip, rotation and zoom act together, so that pixels are interpolated once.

    Returns:
        float32 [count, 8]: rows as `keras.ops.image.affine_transform` takes them, from output to input pixels.
    """
    draws = np.random.default_rng([seed, view]).random((count, 3))
    mirror = np.where(augment.horizontal_flip & (draws[:, 0] < 0.5), -1.0, 1.0)
    angle = np.deg2rad(augment.rotation_degrees) * (2 * draws[:, 1] - 1)
    scale = 1 / (1 + augment.zoom * (2 * draws[:, 2] - 1))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    centre = (size - 1) / 2
    linear = np.stack([mirror * cos, -mirror * sin, sin, cos], axis=1)
    shift_x = centre - centre * (linear[:, 0] + linear[:, 1])
    shift_y = centre - centre * (linear[:, 2] + linear[:, 3])
    zero = np.zeros(count)
    return np.stack(
        [linear[:, 0], linear[:, 1], shift_x, linear[:, 2], linear[:, 3], shift_y, zero, zero], axis=1
    ).astype(np.float32)


def apply_transforms(pictures, transforms):
    """Pictures uint8 [b, size, size, 3] under transforms float32 [b, 8]: uint8; what comes in from outside is mirrored at the edge."""
    moved = keras.ops.image.affine_transform(
        keras.ops.cast(pictures, "float32"), transforms, interpolation="bilinear", fill_mode="reflect"
    )
    return keras.ops.cast(keras.ops.clip(keras.ops.round(moved), 0, 255), "uint8")
