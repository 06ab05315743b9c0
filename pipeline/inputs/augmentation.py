"""Augmentation in numbered variants: each is a function of the seed and of the image's index in the training set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.inputs.augmentation_ops import (
    COLOURS,
    OPERATIONS,
    apply_colours,
    apply_operation,
    erase,
    geometry_of_operations,
)

# Streams of random numbers: switching one ingredient on does not change the draws of the others.
_CROP, _COLOUR, _OPERATIONS, _ERASING = 1, 2, 3, 4


def varies(augment: AugmentConfig) -> bool:
    """Return whether single images are augmented; mixing them with one another does not count."""
    strengths = ("rotation_degrees", "zoom_in", "zoom_out", *COLOURS, "random_operations", "erasing")
    return augment.horizontal_flip or augment.crop_area < 1 or any(getattr(augment, name) for name in strengths)


def mixes(augment: AugmentConfig) -> bool:
    """Return whether images are mixed with one another."""
    return augment.mixup > 0 or augment.cutmix > 0


@dataclass(frozen=True)
class Augmentation:
    """Changes of n images, drawn for each; None where an ingredient is off."""

    transforms: np.ndarray
    """float32 [n, 8]: rows for `keras.ops.image.affine_transform`, from output to input pixels."""
    colours: np.ndarray | None = None
    """float32 [n, 4]: changes of `COLOURS`, -1 to 1."""
    operations: np.ndarray | None = None
    """int [n, k]: indices into `pipeline.inputs.augmentation_ops.OPERATIONS`."""
    strengths: np.ndarray | None = None
    """float32 [n, k]: strengths of the operations, -1 to 1."""
    boxes: np.ndarray | None = None
    """float32 [n, 4]: left, right, top and bottom of the erased rectangle, in pixels; of area 0 where there is none."""

    def select(self, indices: np.ndarray) -> Augmentation:
        """Return the changes of some of the images, integer [b]."""
        others = (self.colours, self.operations, self.strengths, self.boxes)
        return Augmentation(self.transforms[indices], *(rows if rows is None else rows[indices] for rows in others))

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Augment images, uint8 [n, size, size, 3]; all that moves pixels acts in one transform, interpolated once."""
        moved = _transform(images, self.transforms)
        if self.operations is not None and self.strengths is not None:
            for operations, strengths in zip(self.operations.T, self.strengths.T, strict=True):
                moved = apply_operation(moved, operations, strengths)
        if self.colours is not None:
            moved = apply_colours(moved, self.colours)
        if self.boxes is not None:
            moved = erase(moved, self.boxes)
        return np.asarray(keras.ops.cast(keras.ops.clip(keras.ops.round(moved), 0, 255), "uint8"))


@dataclass(frozen=True)
class Variants:
    """Augmented variants of any set of training images."""

    augment: AugmentConfig
    """Strengths."""
    seed: int
    """Of all draws."""

    def of(self, count: int, size: int) -> DrawnVariants:
        """Return the variants of `count` images with sides of `size` pixels."""
        return DrawnVariants(self.augment, count, size, self.seed)

    @property
    def depends(self) -> dict[str, Any]:
        """Return what augmented pixels depend on; not the number of variants, nor MixUp, which comes after."""
        return {
            "augment": asdict(self.augment) | dict.fromkeys(("name", "views", "mixup", "cutmix")),
            "seed": self.seed,
        }


class DrawnVariants:
    """Augmented variants of some training images by number, without end; each is drawn on first use."""

    def __init__(self, augment: AugmentConfig, count: int, size: int, seed: int):
        """Create it for `count` images with sides of `size` pixels; nothing is drawn yet."""
        # Batches of two epochs may be loaded at once, and images of a small class in several variants each.
        self._draw = lru_cache(8)(lambda number: draw_variant(augment, count, size, seed=seed, number=number))

    def __getitem__(self, number: int) -> Augmentation | None:
        """Return a variant; number 0 is the plain image."""
        return self._draw(int(number)) if number else None


def draw_variant(augment: AugmentConfig, count: int, size: int, *, seed: int, number: int) -> Augmentation:
    """Draw one variant of each image.

    Args:
        augment: strengths.
        count: how many images.
        size: their side in pixels.
        seed: of all draws.
        number: of the variant, from 1.
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
    """Return flip, rotation and zoom about the centre.

    Returns:
        maps from output to input, float [n, 2, 2], and shifts as fractions of the side, float [n, 2].
    """
    mirror = np.where(augment.horizontal_flip & (draws[:, 0] < 0.5), -1.0, 1.0)
    angle = np.deg2rad(augment.rotation_degrees) * (2 * draws[:, 1] - 1)
    scale = 1 - augment.zoom_in + (augment.zoom_in + augment.zoom_out) * draws[:, 2]
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.stack([mirror * cos, -mirror * sin, sin, cos], axis=1).reshape(-1, 2, 2)
    return linear, np.zeros((len(draws), 2))


def _crop(augment: AugmentConfig, linear: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return maps and shifts that first crop the image.

    Source: C. Szegedy et al., Going Deeper with Convolutions (2015).
    """
    area = augment.crop_area + (1 - augment.crop_area) * draws[:, 0]
    aspect = augment.crop_aspect ** (2 * draws[:, 1] - 1)
    sides = np.minimum(1, np.sqrt(np.stack([area * aspect, area / aspect], axis=1)))
    return sides[:, :, None] * linear, (draws[:, 2:] - 0.5) * (1 - sides)


def _erased_boxes(augment: AugmentConfig, draws: np.ndarray, size: int) -> np.ndarray:
    """Return the erased rectangle of each image, float32 [n, 4].

    Source: Z. Zhong et al., Random Erasing (2020).
    """
    area = np.where(draws[:, 0] < augment.erasing, augment.erasing_area * draws[:, 1], 0)
    aspect = 2 ** (2 * draws[:, 2] - 1)
    sides = np.minimum(1, np.sqrt(np.stack([area * aspect, area / aspect], axis=1)))
    first = draws[:, 3:] * (1 - sides)
    return np.stack([first, first + sides], axis=2).reshape(-1, 4).astype(np.float32) * size


def _rows(linear: np.ndarray, shift: np.ndarray, size: int) -> np.ndarray:
    """Return transforms float32 [n, 8] of images with sides of `size` pixels; `linear` acts about the centre."""
    centre = (size - 1) / 2
    offset = centre + shift * size - linear.sum(axis=2) * centre
    rows = np.concatenate([linear, offset[:, :, None]], axis=2).reshape(-1, 6)
    return np.pad(rows, [(0, 0), (0, 2)]).astype(np.float32)


def _transform(images: np.ndarray, transforms: np.ndarray) -> tf.Tensor:
    """Transform images to float32 [n, size, size, 3], mirrored at the edges."""
    images = keras.ops.cast(images, "float32")
    return keras.ops.image.affine_transform(images, transforms, interpolation="bilinear", fill_mode="reflect")


def fixed_views(kind: str, size: int) -> list[Augmentation | None]:
    """Return the views of test-time augmentation, each for one image; the first is None, the plain image.

    Args:
        kind: none; flip: the mirror image too; crops: the image, its four corners and its centre, each seven eighths of
            the side; flip_crops: these mirrored as well.
        size: side of the images in pixels.
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
