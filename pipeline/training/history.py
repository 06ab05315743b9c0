"""Figures of each epoch, and the files that a training leaves beside its model."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd

Row = dict[str, float]
"""An epoch: `epoch` (counted over both phases, from 1), `learning_rate`, `loss`, `accuracy`, `val_loss`, `val_accuracy`."""


def seven_digits(value: float) -> float:
    """What float32 has to tell."""
    return float(f"{float(value):.7g}")


def summary(rows: Sequence[Row], kept: Row, trainable: keras.Model, model: keras.Model) -> dict[str, float]:
    """The figures of the epoch that was kept, and what was trained of the whole model, in parameters."""
    return {
        "epochs": len(rows),
        "kept_epoch": kept["epoch"],
        **{name: kept[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")},
        "trainable_parameters": int(sum(np.prod(weight.shape) for weight in trainable.trainable_weights)),
        "parameters": model.count_params(),
    }


def write_rates(epochs: Sequence[int], rates: np.ndarray, file: Path) -> None:
    """A row a batch: its epoch, its number from 1 on, and the learning rate that it was learned from at."""
    each = len(rates) // len(epochs)
    table = {"epoch": np.repeat(epochs, each), "step": np.arange(1, len(rates) + 1), "learning_rate": rates}
    pd.DataFrame(table).to_csv(file, index=False)
