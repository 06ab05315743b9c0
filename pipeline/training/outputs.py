"""Output files of a training besides its model: metrics per epoch, learning rates per step, augmentation preview."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from pipeline.inputs.augmentation import Mixing, Variants, mixes, varies
from pipeline.inputs.batches import ImageInputs
from pipeline.storage.files import Json
from pipeline.training import Row
from pipeline.training.features import TrainingData
from pipeline.training.fit import FitContext

_IMAGES, _VARIANTS = 4, 6
# Largest side of the preview images in pixels, as large as they are shown.
_SIDE = 160


def summary(rows: Sequence[Row], kept: Row, trainable: keras.Model, model: keras.Model) -> Json:
    """Return the metrics of the epoch whose weights the model has, and the numbers of trainable and all parameters."""
    return {
        "epochs": len(rows),
        "kept_epoch": kept["epoch"],
        **{name: kept[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")},
        "trainable_parameters": int(sum(np.prod(weight.shape) for weight in trainable.trainable_weights)),
        "parameters": model.count_params(),
    }


def write_history(rows: Sequence[Row], rates: np.ndarray, folder: Path) -> None:
    """Write history.csv with the metrics of each epoch, and rates.csv with the learning rate of each batch.

    rates.csv has the columns epoch, step (from 1) and learning_rate.

    Args:
        rows: Metrics of all epochs.
        rates: Learning rate of each batch, float64 [epochs * steps per epoch].
        folder: Output folder.
    """
    history = pd.DataFrame(rows)
    history.to_csv(folder / "history.csv", index=False)
    epochs = np.repeat(history["epoch"].to_numpy(), len(rates) // len(rows))
    table = pd.DataFrame({"epoch": epochs, "step": np.arange(1, len(rates) + 1), "learning_rate": rates})
    table.to_csv(folder / "rates.csv", index=False)


def write_preview(data: TrainingData, context: FitContext, file: Path, *, mixed: bool) -> None:
    """Write a few training images, unchanged and in their first augmented variants.

    The file contains an array `images`, uint8 [images, variants, h, w, 3].

    Args:
        data: Training images.
        context: Settings of the augmentation, and the random seed.
        file: Output file (.npz).
        mixed: Whether this phase uses MixUp or CutMix.
    """
    augment, count = context.augment, len(data.train_indices)
    chosen = np.unique(np.linspace(0, count - 1, _IMAGES).round().astype(np.int64))
    variants = Variants(augment, count, data.images.size, context.seed)
    inputs = ImageInputs(data.images, data.train_indices, variants)
    columns = []
    with tf.device("CPU:0"):
        # Mixing also needs labels, which are not shown.
        mixing, labels = Mixing(augment, context.seed), tf.one_hot(data.labels[data.train_indices[chosen]], 2)
        for number in range(_VARIANTS + 1 if varies(augment) or mixes(augment) else 1):
            images = inputs.take(chosen, np.full(len(chosen), number))
            if number and mixed and mixes(augment):
                images = mixing(tf.constant(images), labels, tf.constant(number), tf.constant(0))[0].numpy()
            columns.append([_thumbnail(image) for image in images])
    np.savez_compressed(file, images=np.stack(columns, axis=1))


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(image)
