"""A preview of what augmentation does to the training images."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.config import AugmentConfig
from pipeline.inputs.augmentation import Views
from pipeline.inputs.mixup import Softening
from pipeline.training.data import TrainingData

_IMAGES, _VIEWS = 4, 6
# Pixels of a side: as large as they are shown.
_SIDE = 160


def write_preview(augment: AugmentConfig, data: TrainingData, seed: int, file: Path, *, mixed: bool) -> None:
    """Write a few training images, plain and in their first variants: an array `images`, uint8 [images, variants, side, side, 3].

    Args:
        augment: how images are augmented.
        data: the training images.
        seed: of the variants.
        file: .npz to write.
        mixed: whether this phase sees images mixed with one another.
    """
    count = len(data.train_indices)
    places = np.unique(np.linspace(0, count - 1, _IMAGES).round().astype(np.int64))
    images = data.images.take(data.train_indices[places])
    columns = [images]
    views = Views(augment, count, data.images.size, seed)
    with tf.device("CPU:0"):
        for view in range(1, _VIEWS + 1) if augment.varies or augment.mixes else ():
            seen = views[view].of(places).apply(images)
            if mixed and augment.mixes:
                softening, labels = (
                    Softening(augment, 0.0, seed),
                    tf.one_hot(data.labels[data.train_indices[places]], 2),
                )
                seen = softening(tf.constant(seen), labels, tf.constant(view), tf.constant(0))[0].numpy()
            columns.append(seen)
    rows = [[_small(variant[index]) for variant in columns] for index in range(len(places))]
    np.savez_compressed(file, images=np.array(rows))


def _small(pixels: np.ndarray) -> np.ndarray:
    side = min(_SIDE, pixels.shape[0])
    return np.asarray(Image.fromarray(pixels.astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR))
