"""A preview of augmentation: a few training images in several variants."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.config import AugmentConfig
from pipeline.inputs.augmentation import DrawnVariants, mixes, varies
from pipeline.inputs.mixup import Mixing
from pipeline.training.data import TrainingData

_IMAGES, _VARIANTS = 4, 6
# Pixels of a side: as large as they are shown.
_SIDE = 160


def write_preview(augment: AugmentConfig, data: TrainingData, seed: int, file: Path, *, mixed: bool) -> None:
    """Write a few training images, plain and in their first variants.

    The file holds an array `images`, uint8 [images, variants, side, side, 3].

    Args:
        augment: how images are augmented.
        data: the training images.
        seed: of the variants.
        file: .npz to write.
        mixed: whether this phase mixes images with one another.
    """
    count = len(data.train_indices)
    chosen = np.unique(np.linspace(0, count - 1, _IMAGES).round().astype(np.int64))
    images = data.images.take(data.train_indices[chosen])
    columns = [images]
    if varies(augment) or mixes(augment):
        variants = DrawnVariants(augment, count, data.images.size, seed)
        mixing = Mixing(augment, seed)
        with tf.device("CPU:0"):
            # Mixing changes labels too, which are not shown.
            labels = tf.one_hot(data.labels[data.train_indices[chosen]], 2)
            for number in range(1, _VARIANTS + 1):
                drawn = variants[number]
                assert drawn is not None
                variant = drawn.select(chosen).apply(images)
                if mixed and mixes(augment):
                    variant = mixing(tf.constant(variant), labels, tf.constant(number), tf.constant(0))[0].numpy()
                columns.append(variant)
    rows = [[_thumbnail(column[index]) for column in columns] for index in range(len(chosen))]
    np.savez_compressed(file, images=np.array(rows))


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    side = min(_SIDE, pixels.shape[0])
    return np.asarray(Image.fromarray(pixels.astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR))
