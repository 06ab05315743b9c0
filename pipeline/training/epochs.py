"""What is told of each epoch."""

import logging
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import DivergedError
from pipeline.interruption import interrupted

log = logging.getLogger(__name__)

_FEW = 10

Row = dict[str, float]
"""An epoch: `epoch` (counted over both phases, from 1), `learning_rate`, `loss`, `accuracy`, `val_loss`, `val_accuracy`."""


class EpochRecorder(keras.callbacks.Callback):
    """Keeps and logs a row an epoch, and moves the progress bar."""

    def __init__(
        self,
        advance: Callable[..., None],
        epochs: range,
        images: int,
        batch_size: int,
        diverged_above: float,
    ):
        """`diverged_above`: a training loss that nobody comes down from."""
        super().__init__()
        self.rows: list[Row] = []
        self._advance, self._epochs = advance, epochs
        self._images, self._batch_size, self._diverged_above = images, batch_size, diverged_above
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = self._epochs[epoch] + 1

    def on_train_batch_end(self, batch, logs=None):
        if interrupted():
            # Raised within a library's callback from C, the first one may have been lost.
            raise KeyboardInterrupt
        self._advance(min(self._batch_size, self._images - batch * self._batch_size))
        # The mean of the epoch so far: of a few batches it says little, but that it is no number.
        if not np.isfinite(logs["loss"]) or (batch >= _FEW and logs["loss"] > self._diverged_above):
            self._give_up(f"training loss {logs['loss']:.4g} after {batch + 1} batches")

    def on_epoch_end(self, epoch, logs=None):
        # A replicated variable is no number until TensorFlow has read it.
        rate = tf.convert_to_tensor(self.model.optimizer.learning_rate)
        row = {"epoch": self._epochs[epoch] + 1, "learning_rate": seven_digits(rate)}
        row |= {name: seven_digits(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        self.rows.append(row)
        told = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        log.info("epoch %d of %d  %s", row["epoch"], self._epochs.stop, told)
        self._advance(0, note=f"epoch {row['epoch']} of {self._epochs.stop}, val_accuracy {row['val_accuracy']:.3f}")
        if not all(np.isfinite(value) for value in row.values()):
            self._give_up(told)

    def _give_up(self, told: str) -> None:
        raise DivergedError(
            f"The training diverged in epoch {self._epoch} ({told}); lower the learning rate of this phase "
            "(python -m pipeline.find_lr suggests one), or give it a longer warm-up"
        )


def worth(figures: Mapping[str, float]) -> tuple[float, float]:
    """What decides between two models, the larger the better: accuracy on validation, then loss (smoothed labels alone raise it)."""
    return figures["val_accuracy"], -figures["val_loss"]


def seven_digits(value: float) -> float:
    """What float32 has to tell."""
    return float(f"{float(value):.7g}")
