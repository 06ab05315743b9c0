"""What augmentation does to pixels beside moving them: Keras's layers, with strengths that were drawn for each image."""

import functools

import keras
import numpy as np

OPERATIONS = (
    "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "contrast", "saturation", "sharpness",
    "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
"""Of RandAugment (E. Cubuk et al., 2020); the first five move pixels."""
_FIRST_OF_PIXELS = OPERATIONS.index("brightness")
_GREY = 128


@functools.cache
def _layers() -> dict[str, keras.Layer]:
    """Keras's layers for their arithmetic alone: theirs draw one set for a batch, from a state; ours, drawn for each image, are given."""
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


def _changed(name: str, images, strengths: np.ndarray):
    """One operation on images float32 [b, size, size, 3], each at its own strength, -1 to 1; those that know only one direction go by its size."""
    each, size = strengths[:, None, None, None], np.abs(strengths)
    given = {
        "brightness": {"rgb_delta": 255 * each},
        "contrast": {"contrast_factor": 1 + each},
        "saturation": {"factor": -each},
        "hue": {"factor": strengths / 2},
        "sharpness": {"factor": (1 + strengths) / 2},
        "posterize": {"shift_factor": np.rint(6 * size).astype(np.uint8)},
        "solarize": {"additions": 0.0, "thresholds": (255 * (1 - size))[:, None, None, None]},
    }.get(name)
    return _layers()[name].transform_images(images, given)


def apply_colours(images, changes: np.ndarray):
    """Brightness, contrast, saturation and hue, float32 [b, 4], in this order; those that nobody asked for are all 0."""
    for name, strengths in zip(("brightness", "contrast", "saturation", "hue"), changes.T, strict=True):
        if strengths.any():
            images = _changed(name, images, strengths)
    return images


def apply_operation(images, operations: np.ndarray, strengths: np.ndarray):
    """The pixel operation that was drawn for each image, int [b], at its strength, float32 [b]."""
    for number in np.unique(operations[operations >= _FIRST_OF_PIXELS]):
        [here] = np.nonzero(operations == number)
        changed = _changed(OPERATIONS[number], keras.ops.take(images, here, axis=0), strengths[here])
        images = keras.ops.scatter_update(images, here[:, None], changed)
    return images


def geometry_of_operations(
    linear: np.ndarray, shift: np.ndarray, operations: np.ndarray, strengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Transforms float [n, 2, 2] and [n, 2] with the drawn operations, int [n, k], that move pixels; the largest turn is 60 degrees."""
    for drawn, strength in zip(operations.T, strengths.T, strict=True):
        at = {name: np.where(drawn == OPERATIONS.index(name), strength, 0) for name in OPERATIONS[:_FIRST_OF_PIXELS]}
        angle = at["rotate"] * np.pi / 3
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
        one = np.ones(len(drawn))
        shear = np.stack([one, at["shear_x"], at["shear_y"], one], axis=1).reshape(-1, 2, 2)
        linear = linear @ turn @ shear
        shift = shift + np.stack([at["translate_x"], at["translate_y"]], axis=1)
    return linear, shift


def erase(images, boxes: np.ndarray):
    """Images float32 [b, size, size, 3] with grey in boxes float32 [b, 4]: left, right, top, bottom."""
    return keras.ops.where(inside(boxes, images.shape[1]), np.float32(_GREY), images)


def inside(boxes: np.ndarray, size: int) -> np.ndarray:
    """Which pixels lie in boxes [b, 4]: bool [b, size, size, 1]."""
    place = np.arange(size)
    left, right, top, bottom = (side[:, None] for side in np.asarray(boxes).T)
    across, down = (place >= left) & (place < right), (place >= top) & (place < bottom)
    return (down[:, :, None] & across[:, None, :])[..., None]
