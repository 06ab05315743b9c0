"""A look at what augmentation does to the training pictures."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.data.mixing import Softening
from pipeline.data.views import Views
from pipeline.plots import plot_views
from pipeline.training.data import TrainingData

_PICTURES, _VIEWS = 4, 6


def write_augmentation(augment: AugmentConfig, data: TrainingData, seed: int, phase: str, file: Path) -> None:
    """A few training pictures in their first views, as `phase` sees them (mixing is fine-tuning's): a PNG of a row a picture."""
    count = len(data.training)
    places = np.unique(np.linspace(0, count - 1, _PICTURES).round().astype(np.int64))
    pictures = data.pictures.take(data.training[places])
    columns, titles = [pictures], ["as it is"]
    views = Views(augment, count, data.pictures.size, seed)
    with tf.device("CPU:0"):
        for view in range(1, _VIEWS + 1) if augment.varies or augment.mixes else ():
            seen = views[view].of(places).apply(pictures)
            if phase == "finetune" and augment.mixes:
                softening, labels = Softening(augment, 0.0, seed), tf.one_hot(data.labels[data.training[places]], 2)
                seen = softening(tf.constant(seen), labels, tf.constant(view), tf.constant(0))[0].numpy()
            columns.append(seen)
            titles.append(f"version {view}")
    plot_views(list(zip(*columns, strict=True)), titles, file)
