"""Keras callbacks of a fit: epoch figures, early stopping with averaged weights, seeds by epoch."""

import logging
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import PhaseConfig
from pipeline.system.errors import DivergedError
from pipeline.system.signals import interrupted
from pipeline.training.history import Row, seven_digits

log = logging.getLogger(__name__)

_FEW = 10


class EpochRecorder(keras.callbacks.Callback):
    """Keeps and logs a row an epoch, and moves the progress bar."""

    def __init__(
        self,
        advance: Callable[..., None],
        epochs: range,
        *,
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


class EarlyStoppingWithEma(keras.callbacks.EarlyStopping):
    """Keras's, and where the optimizer keeps a moving average of the weights, that is what is validated, chosen and restored.

    Between batches, and whenever other callbacks look, the network holds the weights that it learns with.
    """

    def __init__(self, phase: PhaseConfig):
        super().__init__(
            monitor=phase.monitor,
            mode="min" if phase.monitor == "val_loss" else "max",
            patience=phase.epochs if phase.early_stopping_patience is None else phase.early_stopping_patience,
            restore_best_weights=phase.restore_best,
        )
        self._averages = phase.ema is not None
        self._learning: list[np.ndarray] = []

    def on_test_begin(self, logs=None):
        self._take_average()

    def on_test_end(self, logs=None):
        self._learn_on()

    def on_epoch_end(self, epoch, logs=None):
        self._take_average()
        super().on_epoch_end(epoch, logs)
        self._learn_on()

    def _take_average(self) -> None:
        if self._averages:
            # A replicated variable is no array until TensorFlow has read it.
            self._learning = [tf.convert_to_tensor(each).numpy() for each in self.model.trainable_variables]
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def _learn_on(self) -> None:
        if self._averages:
            for variable, own in zip(self.model.trainable_variables, self._learning, strict=True):
                variable.assign(own)


class EpochSeeds(keras.callbacks.Callback):
    """What dropout draws in an epoch is a function of seed and epoch, whatever was drawn before."""

    def __init__(self, seed: int, first_epoch: int):
        """`first_epoch` of the fit, counted over all phases."""
        super().__init__()
        self._seed, self._first = seed, first_epoch

    def on_epoch_begin(self, epoch, logs=None):
        states = [each for each in self.model.variables if each.name == "seed_generator_state"]
        for number, state in enumerate(states):
            draws = np.random.default_rng([self._seed, self._first + epoch, number])
            state.assign(draws.integers(0, 2**31, state.shape))
