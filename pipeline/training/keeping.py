"""Which epoch's weights are kept, and what makes a phase end early."""

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import PhaseConfig


class Keeping(keras.callbacks.EarlyStopping):
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
