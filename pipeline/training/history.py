"""Figures of each epoch, and the tables and metrics that a training writes beside its model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

Row = dict[str, float]
"""An epoch: `epoch` (counted over both phases, from 1), `learning_rate`, and loss and accuracy.

These are `loss`, `accuracy`, `val_loss` and `val_accuracy`.
"""


def seven_digits(value: float) -> float:
    """Round to the seven digits that float32 holds."""
    return float(f"{float(value):.7g}")


def summary(rows: Sequence[Row], kept: Row, trainable: keras.Model, model: keras.Model) -> dict[str, Any]:
    """Return the figures of the kept epoch, and the number of trainable and of all parameters."""
    return {
        "epochs": len(rows),
        "kept_epoch": kept["epoch"],
        **{name: kept[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")},
        "trainable_parameters": int(sum(np.prod(weight.shape) for weight in trainable.trainable_weights)),
        "parameters": model.count_params(),
    }


def write_rates(rows: Sequence[Row], rates: np.ndarray, file: Path) -> None:
    """Write a CSV of one row per batch: its epoch, its step from 1 on, and its learning rate."""
    epochs = [row["epoch"] for row in rows]
    steps_per_epoch = len(rates) // len(epochs)
    table = {
        "epoch": np.repeat(epochs, steps_per_epoch),
        "step": np.arange(1, len(rates) + 1),
        "learning_rate": rates,
    }
    pd.DataFrame(table).to_csv(file, index=False)
