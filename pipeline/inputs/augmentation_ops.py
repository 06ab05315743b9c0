"""Augmentation operations on pixels, computed by Keras layers with a separate strength for each image."""

import functools

import keras
import numpy as np
import tensorflow as tf

OPERATIONS = (
    "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "contrast", "saturation", "sharpness",
    "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
"""Operations of RandAugment (E. Cubuk et al., 2020); the first five are geometric."""
_FIRST_OF_PIXELS = OPERATIONS.index("brightness")
COLOURS = ("brightness", "contrast", "saturation", "hue")
"""Colour operations, in the order in which they are applied."""
_GREY = 128


@functools.cache
def _layers() -> dict[str, keras.Layer]:
    """Return the Keras layer of each operation, which is used with given parameters instead of its random ones."""
    own = keras.layers
    return {
        "brightness": own.RandomBrightness(1.0, value_range=(0, 255)),
        "contrast": own.RandomContrast(1.0, value_range=(0, 255)),
        "saturation": own.RandomColorDegeneration(1.0, value_range=(0, 255)),
        "hue": own.RandomHue(1.0, value_range=(0, 255)),
        "sharpness": own.RandomSharpness(1.0, value_range=(0, 255)),
        "posterize": own.RandomPosterization(8, value_range=(0, 255)),
        "solarize": own.Solarization(value_range=(0, 255)),
        "auto_contrast": own.AutoContrast(value_range=(0, 255)),
        "equalize": own.Equalization(value_range=(0, 255)),
    }


def _apply(name: str, images: tf.Tensor, strengths: np.ndarray) -> tf.Tensor:
    """Apply one operation to images, float32 [b, h, w, 3].

    Args:
        name: Name of the operation, which is not geometric.
        images: Pixels, 0 to 255.
        strengths: Strength for each image, -1 to 1, float32 [b]; posterize and solarize use its absolute value.
    """
    each, size = strengths[:, None, None, None], np.abs(strengths)
    transformation = {
        "brightness": {"rgb_delta": 255 * each},
        "contrast": {"contrast_factor": 1 + each},
        "saturation": {"factor": -each},
        "hue": {"factor": strengths / 2},
        "sharpness": {"factor": (1 + strengths) / 2},
        "posterize": {"shift_factor": np.rint(6 * size).astype(np.uint8)},
        "solarize": {"additions": 0.0, "thresholds": (255 * (1 - size))[:, None, None, None]},
    }.get(name)
    return _layers()[name].transform_images(images, transformation)


def apply_colours(images: tf.Tensor, changes: np.ndarray) -> tf.Tensor:
    """Change the colours of images by strengths, float32 [b, 4], in the order of `COLOURS`."""
    for name, strengths in zip(COLOURS, changes.T, strict=True):
        if strengths.any():
            images = _apply(name, images, strengths)
    return images


def apply_operation(images: tf.Tensor, operations: np.ndarray, strengths: np.ndarray) -> tf.Tensor:
    """Apply one operation to each image; geometric operations are skipped.

    Args:
        images: Pixels, float32 [b, h, w, 3].
        operations: Index into `OPERATIONS` for each image, int [b].
        strengths: Strength for each image, -1 to 1, float32 [b].
    """
    for number in np.unique(operations[operations >= _FIRST_OF_PIXELS]):
        [here] = np.nonzero(operations == number)
        changed = _apply(OPERATIONS[number], keras.ops.take(images, here, axis=0), strengths[here])
        images = keras.ops.scatter_update(images, here[:, None], changed)
    return images


def geometry_of_operations(
    linear: np.ndarray, shift: np.ndarray, operations: np.ndarray, strengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Combine linear maps and shifts with the geometric operations among `operations`.

    Args:
        linear: Linear maps from output to input coordinates, float [n, 2, 2].
        shift: Shifts as fractions of the width and the height, float [n, 2].
        operations: Indices into `OPERATIONS`, int [n, k].
        strengths: Strengths of the operations, -1 to 1, float32 [n, k]; rotations reach 60 degrees.
    """
    for drawn, strength in zip(operations.T, strengths.T, strict=True):
        at = {name: np.where(drawn == OPERATIONS.index(name), strength, 0) for name in OPERATIONS[:_FIRST_OF_PIXELS]}
        angle = at["rotate"] * np.pi / 3
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
        one = np.ones(len(drawn))
        shear = np.stack([one, at["shear_x"], at["shear_y"], one], axis=1).reshape(-1, 2, 2)
        linear = linear @ turn @ shear
        shift = shift + np.stack([at["translate_x"], at["translate_y"]], axis=1)
    return linear, shift


def erase(images: tf.Tensor, boxes: np.ndarray) -> tf.Tensor:
    """Fill a box in each image with grey.

    Args:
        images: Pixels, float32 [b, h, w, 3].
        boxes: Left, right, top and bottom in pixels, float32 [b, 4].
    """
    return keras.ops.where(inside(boxes, *images.shape[1:3]), np.float32(_GREY), images)


def inside(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask of the pixels inside boxes [b, 4], bool [b, height, width, 1]."""
    rows, columns = np.arange(height), np.arange(width)
    left, right, top, bottom = (side[:, None] for side in np.asarray(boxes).T)
    across, down = (columns >= left) & (columns < right), (rows >= top) & (rows < bottom)
    return (down[:, :, None] & across[:, None, :])[..., None]
