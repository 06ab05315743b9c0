"""Augmentation as numbered views: each view of an image is a fixed, seeded function of its place in the training set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from pipeline.config import AugmentConfig
from pipeline.inputs.augmentation_ops import OPERATIONS, apply_colours, apply_operation, erase, geometry_of_operations

# Whose draws do not move when another ingredient is added.
_CROP, _COLOUR, _OPERATIONS, _ERASING = 1, 2, 3, 4
COLOURS = ("brightness", "contrast", "saturation", "hue")


@dataclass(frozen=True)
class View:
    """What happens to each of n images in one view; None where an ingredient is off."""

    transforms: np.ndarray
    """float32 [n, 8]: rows as `keras.ops.image.affine_transform` takes them, from output to input pixels."""
    colours: np.ndarray | None = None
    """float32 [n, 4]: changes of `COLOURS`."""
    operations: np.ndarray | None = None
    """int [n, k]: places in `pipeline.inputs.augmentation_ops.OPERATIONS`."""
    strengths: np.ndarray | None = None
    """float32 [n, k]: theirs, -1 to 1."""
    boxes: np.ndarray | None = None
    """float32 [n, 4]: left, right, top and bottom of what is erased, in pixels; empty where nothing is."""

    def of(self, places: np.ndarray) -> View:
        """The same for some of the images, integer [b]."""
        rows = {name: value if value is None else value[places] for name, value in vars(self).items()}
        return replace(self, **rows)

    def apply(self, images: np.ndarray) -> np.ndarray:
        """uint8 [n, size, size, 3] to the same. All that moves pixels acts together, so that they are interpolated once."""
        moved = _moved(images, self.transforms)
        if self.operations is not None:
            for operations, strengths in zip(self.operations.T, self.strengths.T, strict=True):
                moved = apply_operation(moved, operations, strengths)
        if self.colours is not None:
            moved = apply_colours(moved, self.colours)
        if self.boxes is not None:
            moved = erase(moved, self.boxes)
        return np.asarray(keras.ops.cast(keras.ops.clip(keras.ops.round(moved), 0, 255), "uint8"))


@dataclass(frozen=True)
class Variants:
    """How images are augmented: what each variant of a training image is a function of."""

    augment: AugmentConfig
    seed: int

    def of(self, count: int, size: int) -> Views:
        """All variants of `count` images of `size` pixels."""
        return Views(self.augment, count, size, self.seed)

    @property
    def depends(self) -> dict[str, Any]:
        """What augmented pixels depend on; not how many variants there are, nor MixUp, which comes after."""
        return {
            "augment": asdict(self.augment) | dict.fromkeys(("name", "views", "mixup", "cutmix")),
            "seed": self.seed,
        }


class Views:
    """All views of some training images by number, as long as there is no end of epochs; drawn when they are asked for."""

    def __init__(self, augment: AugmentConfig, count: int, size: int, seed: int):
        """`count` images of `size` pixels."""
        # Batches of two epochs may be under way, and of a small class several views in each.
        self._drawn = lru_cache(8)(lambda view: draw_view(augment, count, size, seed, view))

    def __getitem__(self, view: int) -> View | None:
        """View 0 is the plain image."""
        return self._drawn(int(view)) if view else None


def draw_view(augment: AugmentConfig, count: int, size: int, seed: int, view: int) -> View:
    """What is drawn for each of `count` images of `size` pixels in one view, from 1 on."""

    def draws(*shape: int, of: int | None = None) -> np.ndarray:
        key = [seed, view] if of is None else [seed, view, of]
        return np.random.default_rng(key).random((count, *shape))

    linear, shift = _turned(augment, draws(3))
    if augment.crop_area < 1:
        linear, shift = _cropped(augment, linear, draws(4, of=_CROP))
    operations = strengths = boxes = colours = None
    if augment.random_operations:
        drawn = draws(2, augment.random_operations, of=_OPERATIONS)
        operations = (drawn[:, 0] * len(OPERATIONS)).astype(np.int64)
        strengths = (augment.random_strength * (2 * drawn[:, 1] - 1)).astype(np.float32)
        linear, shift = geometry_of_operations(linear, shift, operations, strengths)
    if any(getattr(augment, name) for name in COLOURS):
        most = [getattr(augment, name) for name in COLOURS]
        colours = ((2 * draws(4, of=_COLOUR) - 1) * most).astype(np.float32)
    if augment.erasing:
        boxes = _boxes(augment, draws(5, of=_ERASING), size)
    return View(_rows(linear, shift, size), colours, operations, strengths, boxes)


def _turned(augment: AugmentConfig, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flip, rotation and zoom about the centre: from output to input, float [n, 2, 2], and the shift [n, 2] as a share of the side."""
    mirror = np.where(augment.horizontal_flip & (draws[:, 0] < 0.5), -1.0, 1.0)
    angle = np.deg2rad(augment.rotation_degrees) * (2 * draws[:, 1] - 1)
    scale = 1 - augment.zoom_in + (augment.zoom_in + augment.zoom_out) * draws[:, 2]
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.stack([mirror * cos, -mirror * sin, sin, cos], axis=1).reshape(-1, 2, 2)
    return linear, np.zeros((len(draws), 2))


def _cropped(augment: AugmentConfig, linear: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same within a part of the image (C. Szegedy et al., Going Deeper with Convolutions, 2015)."""
    area = augment.crop_area + (1 - augment.crop_area) * draws[:, 0]
    aspect = augment.crop_aspect ** (2 * draws[:, 1] - 1)
    sides = np.minimum(1, np.sqrt(np.stack([area * aspect, area / aspect], axis=1)))
    return sides[:, :, None] * linear, (draws[:, 2:] - 0.5) * (1 - sides)


def _boxes(augment: AugmentConfig, draws: np.ndarray, size: int) -> np.ndarray:
    """What is erased of each image (Z. Zhong et al., Random Erasing, 2020)."""
    share = np.where(draws[:, 0] < augment.erasing, augment.erasing_area * draws[:, 1], 0)
    aspect = 2 ** (2 * draws[:, 2] - 1)
    sides = np.minimum(1, np.sqrt(np.stack([share * aspect, share / aspect], axis=1)))
    first = draws[:, 3:] * (1 - sides)
    return np.stack([first, first + sides], axis=2).reshape(-1, 4).astype(np.float32) * size


def _rows(linear: np.ndarray, shift: np.ndarray, size: int) -> np.ndarray:
    """Transforms float32 [n, 8] of images of `size` pixels: `linear` acts about the centre."""
    centre = (size - 1) / 2
    offset = centre + shift * size - linear.sum(axis=2) * centre
    rows = np.concatenate([linear, offset[:, :, None]], axis=2).reshape(-1, 6)
    return np.pad(rows, [(0, 0), (0, 2)]).astype(np.float32)


def _moved(images: np.ndarray, transforms: np.ndarray):
    """float32 [n, size, size, 3]; what comes in from outside is mirrored at the edge."""
    images = keras.ops.cast(images, "float32")
    return keras.ops.image.affine_transform(images, transforms, interpolation="bilinear", fill_mode="reflect")


def fixed_views(kind: str, size: int) -> list[View | None]:
    """The views that test-time augmentation takes the mean over, each for any one image; the plain one first.

    Args:
        kind: none; flip: the mirror image too; crops: the image, and its four corners and centre, each seven eighths of the side;
            flip_crops: these mirrored as well.
        size: of the images, in pixels.
    """
    plain, side = np.eye(2), 7 / 8
    placed = [(plain, (0.0, 0.0))]
    if "crops" in kind:
        edge = (1 - side) / 2
        centres = [(0, 0), (-edge, -edge), (edge, -edge), (-edge, edge), (edge, edge)]
        placed += [(side * plain, centre) for centre in centres]
    if "flip" in kind:
        placed += [(linear @ np.diag([-1.0, 1.0]), centre) for linear, centre in placed]
    rows = [View(_rows(linear[None], np.array([centre]), size)) for linear, centre in placed]
    return [None, *rows[1:]]
