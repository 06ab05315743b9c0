"""Files that a training writes beside its model: figures by epoch, rates by step, a preview of augmentation."""

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
# Pixels of a side: as large as they are shown.
_SIDE = 160


def summary(rows: Sequence[Row], kept: Row, trainable: keras.Model, model: keras.Model) -> Json:
    """Return the figures of the kept epoch, and the number of trainable and of all parameters."""
    return {
        "epochs": len(rows),
        "kept_epoch": kept["epoch"],
        **{name: kept[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")},
        "trainable_parameters": int(sum(np.prod(weight.shape) for weight in trainable.trainable_weights)),
        "parameters": model.count_params(),
    }


def write_history(rows: Sequence[Row], rates: np.ndarray, folder: Path) -> None:
    """Write history.csv, a row for each epoch, and rates.csv, a row for each batch: epoch, step from 1 on, and rate.

    Args:
        rows: of all epochs.
        rates: learning rate of each batch, float64 [epochs * steps per epoch].
        folder: to write into.
    """
    history = pd.DataFrame(rows)
    history.to_csv(folder / "history.csv", index=False)
    epochs = np.repeat(history["epoch"].to_numpy(), len(rates) // len(rows))
    table = pd.DataFrame({"epoch": epochs, "step": np.arange(1, len(rates) + 1), "learning_rate": rates})
    table.to_csv(folder / "rates.csv", index=False)


def write_preview(data: TrainingData, context: FitContext, file: Path, *, mixed: bool) -> None:
    """Write a few training images, plain and in their first variants.

    The file holds an array `images`, uint8 [images, variants, side, side, 3].

    Args:
        data: the training images.
        context: how they are augmented, and the seed.
        file: .npz to write.
        mixed: whether this phase mixes images with one another.
    """
    augment, count = context.augment, len(data.train_indices)
    chosen = np.unique(np.linspace(0, count - 1, _IMAGES).round().astype(np.int64))
    variants = Variants(augment, count, data.images.size, context.seed)
    inputs = ImageInputs(data.images, data.train_indices, variants)
    columns, side = [], min(_SIDE, data.images.size)
    with tf.device("CPU:0"):
        # Mixing changes labels too, which are not shown.
        mixing, labels = Mixing(augment, context.seed), tf.one_hot(data.labels[data.train_indices[chosen]], 2)
        for number in range(_VARIANTS + 1 if varies(augment) or mixes(augment) else 1):
            images = inputs.take(chosen, np.full(len(chosen), number))
            if number and mixed and mixes(augment):
                images = mixing(tf.constant(images), labels, tf.constant(number), tf.constant(0))[0].numpy()
            columns.append([Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR) for image in images])
    np.savez_compressed(file, images=np.stack(columns, axis=1))
