"""A look at what augmentation does to the training images."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.inputs.augmentation import Views
from pipeline.inputs.mixup import Softening
from pipeline.reports.training_charts import plot_views
from pipeline.training.data import TrainingData

_IMAGES, _VIEWS = 4, 6


def write_augmentation(augment: AugmentConfig, data: TrainingData, seed: int, phase: str, file: Path) -> None:
    """A few training images in their first views, as `phase` sees them (mixing is fine-tuning's): a PNG of a row an image."""
    count = len(data.training)
    places = np.unique(np.linspace(0, count - 1, _IMAGES).round().astype(np.int64))
    images = data.images.take(data.training[places])
    columns, titles = [images], ["as it is"]
    views = Views(augment, count, data.images.size, seed)
    with tf.device("CPU:0"):
        for view in range(1, _VIEWS + 1) if augment.varies or augment.mixes else ():
            seen = views[view].of(places).apply(images)
            if phase == "finetune" and augment.mixes:
                softening, labels = Softening(augment, 0.0, seed), tf.one_hot(data.labels[data.training[places]], 2)
                seen = softening(tf.constant(seen), labels, tf.constant(view), tf.constant(0))[0].numpy()
            columns.append(seen)
            titles.append(f"version {view}")
    plot_views(list(zip(*columns, strict=True)), titles, file)
