"""Augmentation of images in numbered variants, and MixUp and CutMix of batches, reproducible from a seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.config.size import Size, height_width, size_of
from pipeline.inputs.augmentation_ops import (
    COLOURS,
    OPERATIONS,
    apply_colours,
    apply_operation,
    erase,
    geometry_of_operations,
    inside,
)

# Separate streams of random numbers, so that enabling one kind of augmentation does not change the others.
_CROP, _COLOUR, _OPERATIONS, _ERASING, _MIXING = 1, 2, 3, 4, 5


def varies(augment: AugmentConfig) -> bool:
    """Return whether single images are augmented, regardless of MixUp and CutMix."""
    strengths = ("rotation_degrees", "zoom_in", "zoom_out", *COLOURS, "random_operations", "erasing")
    return augment.horizontal_flip or augment.crop_area < 1 or any(getattr(augment, name) for name in strengths)


def mixes(augment: AugmentConfig) -> bool:
    """Return whether MixUp or CutMix is enabled."""
    return augment.mixup > 0 or augment.cutmix > 0


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation parameters of n images; None for a kind of augmentation that is disabled."""

    transforms: np.ndarray
    """Parameters of `keras.ops.image.affine_transform`, which map output to input pixels, float32 [n, 8]."""
    colours: np.ndarray | None = None
    """Strengths of the operations in `COLOURS`, -1 to 1, float32 [n, 4]."""
    operations: np.ndarray | None = None
    """Indices into `pipeline.inputs.augmentation_ops.OPERATIONS`, int [n, k]."""
    strengths: np.ndarray | None = None
    """Strengths of `operations`, -1 to 1, float32 [n, k]."""
    boxes: np.ndarray | None = None
    """Left, right, top and bottom of the erased rectangle in pixels, float32 [n, 4]; its area is 0 for no erasing."""

    def select(self, indices: np.ndarray) -> Augmentation:
        """Return the parameters of the images at `indices`, integer [b]."""
        others = (self.colours, self.operations, self.strengths, self.boxes)
        return Augmentation(self.transforms[indices], *(rows if rows is None else rows[indices] for rows in others))

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Augment images, uint8 [n, h, w, 3].

        All geometric changes are one transform, so that pixels are interpolated only once.
        """
        # Pixels outside an image are mirrored at its edges.
        moved = keras.ops.image.affine_transform(
            keras.ops.cast(images, "float32"), self.transforms, interpolation="bilinear", fill_mode="reflect"
        )
        if self.operations is not None and self.strengths is not None:
            for operations, strengths in zip(self.operations.T, self.strengths.T, strict=True):
                moved = apply_operation(moved, operations, strengths)
        if self.colours is not None:
            moved = apply_colours(moved, self.colours)
        if self.boxes is not None:
            moved = erase(moved, self.boxes)
        return np.asarray(keras.ops.cast(keras.ops.clip(keras.ops.round(moved), 0, 255), "uint8"))


class Variants:
    """Unlimited sequence of augmented variants of training images; each variant is generated on first use."""

    def __init__(self, augment: AugmentConfig, count: int, size: Size, seed: int):
        """Create the sequence without generating variants.

        Args:
            augment: Settings of the augmentation.
            count: Number of images.
            size: Size of the images.
            seed: Random seed.
        """
        # Several variants are in use at once if batches of two epochs are loaded, or a small class is repeated.
        self._draw = lru_cache(8)(lambda number: draw_variant(augment, count, size, seed=seed, number=number))
        others = dict.fromkeys(("name", "views", "mixup", "cutmix"))
        self.depends: dict[str, Any] = {"augment": asdict(augment) | others, "seed": seed}
        """Settings that augmented pixels depend on; MixUp and CutMix are excluded, since they are applied later."""

    def __getitem__(self, number: int) -> Augmentation | None:
        """Return the augmentation of a variant, or None for number 0, the unchanged images."""
        return self._draw(int(number)) if number else None


def draw_variant(augment: AugmentConfig, count: int, size: Size, *, seed: int, number: int) -> Augmentation:
    """Generate the random parameters of one variant of each image.

    Args:
        augment: Settings of the augmentation.
        count: Number of images.
        size: Size of the images.
        seed: Random seed of all variants.
        number: Number of the variant, from 1.
    """

    def draws(*shape: int, stream: int | None = None) -> np.ndarray:
        key = [seed, number] if stream is None else [seed, number, stream]
        return np.random.default_rng(key).random((count, *shape))

    linear, shift = _flip_rotate_zoom(augment, draws(3))
    if augment.crop_area < 1:
        linear, shift = _crop(augment, linear, draws(4, stream=_CROP))
    operations = strengths = boxes = colours = None
    if augment.random_operations:
        drawn = draws(2, augment.random_operations, stream=_OPERATIONS)
        operations = (drawn[:, 0] * len(OPERATIONS)).astype(np.int64)
        strengths = (augment.random_strength * (2 * drawn[:, 1] - 1)).astype(np.float32)
        linear, shift = geometry_of_operations(linear, shift, operations, strengths)
    if any(getattr(augment, name) for name in COLOURS):
        limits = [getattr(augment, name) for name in COLOURS]
        colours = ((2 * draws(4, stream=_COLOUR) - 1) * limits).astype(np.float32)
    if augment.erasing:
        boxes = _erased_boxes(augment, draws(5, stream=_ERASING), size)
    return Augmentation(_rows(linear, shift, size), colours, operations, strengths, boxes)


def _flip_rotate_zoom(augment: AugmentConfig, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert random numbers from 0 to 1, float [n, 3], to flips, rotations and zooms about the centre.

    Returns:
        (linear, shift): Linear maps from output to input coordinates, float [n, 2, 2], and shifts as fractions of the
        width and the height, float [n, 2].
    """
    mirror = np.where(augment.horizontal_flip & (draws[:, 0] < 0.5), -1.0, 1.0)
    angle = np.deg2rad(augment.rotation_degrees) * (2 * draws[:, 1] - 1)
    scale = 1 - augment.zoom_in + (augment.zoom_in + augment.zoom_out) * draws[:, 2]
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.stack([mirror * cos, -mirror * sin, sin, cos], axis=1).reshape(-1, 2, 2)
    return linear, np.zeros((len(draws), 2))


def _crop(augment: AugmentConfig, linear: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear maps and shifts of `_flip_rotate_zoom` with an additional random crop.

    Source: C. Szegedy et al., Going Deeper with Convolutions (2015).
    """
    area = augment.crop_area + (1 - augment.crop_area) * draws[:, 0]
    aspect = augment.crop_aspect ** (2 * draws[:, 1] - 1)
    sides = np.minimum(1, np.sqrt(np.stack([area * aspect, area / aspect], axis=1)))
    return sides[:, :, None] * linear, (draws[:, 2:] - 0.5) * (1 - sides)


def _erased_boxes(augment: AugmentConfig, draws: np.ndarray, size: Size) -> np.ndarray:
    """Return the erased rectangle of each image, float32 [n, 4].

    Source: Z. Zhong et al., Random Erasing (2020).
    """
    area = np.where(draws[:, 0] < augment.erasing, augment.erasing_area * draws[:, 1], 0)
    aspect = 2 ** (2 * draws[:, 2] - 1)
    sides = np.minimum(1, np.sqrt(np.stack([area * aspect, area / aspect], axis=1)))
    first = draws[:, 3:] * (1 - sides)
    return np.stack([first, first + sides], axis=2).reshape(-1, 4).astype(np.float32) * _box(size)


def _box(size: Size) -> np.ndarray:
    """Return the right or bottom end for each side of a box (left, right, top, bottom), float32 [4]."""
    height, width = height_width(size)
    return np.array([width, width, height, height], np.float32)


def _rows(linear: np.ndarray, shift: np.ndarray, size: Size) -> np.ndarray:
    """Return parameters of `affine_transform`, float32 [n, 8], for linear maps about the image centre and shifts."""
    height, width = height_width(size)
    extent = np.array([width, height])
    centre = (extent - 1) / 2
    # A square needs the first term alone; in a single sum, its last digits would differ.
    moved = linear.sum(axis=2) * centre + (linear * (centre - centre[:, np.newaxis])).sum(axis=2)
    offset = centre + shift * extent - moved
    rows = np.concatenate([linear, offset[:, :, None]], axis=2).reshape(-1, 6)
    return np.pad(rows, [(0, 0), (0, 2)]).astype(np.float32)


def fixed_views(kind: str, size: Size) -> list[Augmentation | None]:
    """Return the views of test-time augmentation, each for one image; the first is None, the unchanged image.

    Args:
        kind: none adds no view. flip adds the mirrored image. crops adds the four corners and the centre of the image,
            with 7/8 of its side. flip_crops adds the crops, and the mirrored image and crops.
        size: Size of the images.
    """
    plain, side = np.eye(2), 7 / 8
    placed: list[tuple[np.ndarray, tuple[float, float]]] = [(plain, (0.0, 0.0))]
    if "crops" in kind:
        edge = (1 - side) / 2
        centres = [(0.0, 0.0), (-edge, -edge), (edge, -edge), (-edge, edge), (edge, edge)]
        placed += [(side * plain, centre) for centre in centres]
    if "flip" in kind:
        placed += [(linear @ np.diag([-1.0, 1.0]), centre) for linear, centre in placed]
    return [None, *(Augmentation(_rows(linear[None], np.array([centre]), size)) for linear, centre in placed[1:])]


@dataclass(frozen=True, eq=False)
class Mixing:
    """Mixing of a batch's images and labels by MixUp or CutMix; if both are enabled, one is chosen for each batch.

    Random numbers depend only on seed, epoch and batch number, unlike those of Keras's layers MixUp and CutMix.
    """

    augment: AugmentConfig
    """Settings of the augmentation, of which `mixup` or `cutmix` is above 0."""
    seed: int
    """Random seed."""

    def __call__(
        self, images: tf.Tensor, targets: tf.Tensor, epoch: tf.Tensor, batch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix the images and labels of a batch, inside a TensorFlow graph.

        Args:
            images: RGB pixels, uint8 [b, h, w, 3].
            targets: Labels, float32 [b, classes].
            epoch: Number of the epoch, integer [].
            batch: Number of the batch in the epoch, integer [].
        """
        height, width = images.shape[1:3]
        order, fraction, boxes = tf.numpy_function(
            lambda count, *key: self.draw(int(count), size_of(height, width), *map(int, key)),
            [tf.shape(targets)[0], epoch, batch], [tf.int64, tf.float32, tf.bool], stateful=False,
        )  # fmt: skip
        order, fraction = tf.ensure_shape(order, (None,)), tf.ensure_shape(fraction, (None,))
        boxes = tf.ensure_shape(boxes, (None, height, width, 1))
        others = tf.gather(images, order)
        if self.augment.cutmix:
            images = tf.where(boxes, others, images)
        if self.augment.mixup:
            # MixUp is not applied to images in which CutMix has replaced a rectangle.
            opacity = tf.where(tf.reduce_any(boxes, axis=(1, 2, 3)), 1.0, fraction)
            opacity = opacity[:, None, None, None]
            mixed = opacity * tf.cast(images, tf.float32) + (1 - opacity) * tf.cast(others, tf.float32)
            images = tf.cast(tf.round(mixed), images.dtype)
        fraction = fraction[:, None]
        return images, fraction * targets + (1 - fraction) * tf.gather(targets, order)

    def draw(self, count: int, size: Size, epoch: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Generate the random parameters for mixing a batch of `count` images.

        Returns:
            (order, fraction, boxes): `order` is the index of the image that each image is mixed with, int64 [b].
            `fraction` is the weight of the image itself, float32 [b]. `boxes` is a mask of the pixels that CutMix
            replaces, bool [b, h, w, 1].

        Sources: H. Zhang et al., mixup (2018); S. Yun et al., CutMix (2019).
        """
        draws = np.random.default_rng([self.seed, epoch, batch, _MIXING])
        order = draws.permutation(count)
        cuts = self.augment.cutmix and (not self.augment.mixup or draws.random() < 0.5)
        parameter = self.augment.cutmix if cuts else self.augment.mixup
        fraction = draws.beta(parameter, parameter, count)
        side = np.sqrt(1 - fraction)[:, None] * bool(cuts) * [1.0, 1.0]
        first = draws.random((count, 2)) * (1 - side)
        boxes = inside(_box(size) * np.stack([first, first + side], axis=2).reshape(-1, 4), *height_width(size))
        if cuts:
            fraction = 1 - boxes.mean(axis=(1, 2, 3))
        return order, fraction.astype(np.float32), boxes
