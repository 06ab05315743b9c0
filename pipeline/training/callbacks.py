"""Keras callbacks for training: metrics per epoch, early stopping with averaged weights, and seeds per epoch."""

import logging
import threading
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import PhaseConfig
from pipeline.system.errors import DivergedError
from pipeline.system.processes import interrupted
from pipeline.training import Row, seven_digits

log = logging.getLogger(__name__)

Logs = dict[str, float] | None

# The mean loss of fewer batches is too noisy to compare with the limit, unless they are a whole epoch.
_MIN_BATCHES = 10


class EpochRecorder(keras.callbacks.Callback):
    """Callback that records and logs each epoch's metrics, advances the progress bar, and stops a diverging fit."""

    # Keras then reads a batch's loss in a thread. Otherwise a GPU would wait after each batch until it is read.
    async_safe = True

    def __init__(
        self,
        advance: Callable[..., None],
        epochs: range,
        *,
        images: int,
        phase: PhaseConfig,
        loss_of_guessing: float,
    ):
        """Create a recorder without rows.

        Args:
            advance: Function that advances the progress bar by a number of images; see
                `pipeline.system.terminal.progress`.
            epochs: Numbers of the epochs of this fit, counted over both phases from 0.
            images: Number of images in an epoch.
            phase: Settings of the phase. The fit has diverged if its mean loss is `diverged_above` times as high as at
                its start, and as that of guessing.
            loss_of_guessing: Training loss of a network that gives all classes the same probability.
        """
        super().__init__()
        self.rows: list[Row] = []
        """Metrics of each completed epoch."""
        self._advance, self._epochs, self._images, self._phase = advance, epochs, images, phase
        self._guessing = self._start = loss_of_guessing
        self._lock = threading.Lock()
        self._losses: dict[int, float] = {}
        self._judged = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002 (Keras's signature)
        """Begin with the epoch's first batch."""
        self._losses, self._judged = {}, 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """Stop if the process was interrupted."""
        if interrupted():
            # The original exception is lost if it was raised in a callback from a library's C code.
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stop if the loss has diverged; `logs` has the epoch's mean loss so far.

        Keras calls it in threads, in any order; the batches are judged in theirs.
        """
        assert logs is not None
        with self._lock:
            self._losses[batch] = logs["loss"]
            while self._judged in self._losses:
                following, self._judged = self._judged, self._judged + 1
                self._judge(following, self._losses.pop(following))

    def _judge(self, batch: int, loss: float) -> None:
        size = self._phase.batch_size
        self._advance(min(size, self._images - batch * size))
        if batch == 0:
            # A resumed fit has the rows of its first epochs, and so the same start.
            self._start = self.rows[0]["loss"] if self.rows else loss
        limit = self._phase.diverged_above * max(self._start, self._guessing)
        judged = batch >= _MIN_BATCHES or (batch + 1) * size >= self._images
        if not np.isfinite(loss) or (judged and loss > limit):
            figures = f"training loss {loss:.4g} after {batch + 1} batches, {self._start:.4g} at the start"
            raise _diverged(self._epochs.start + len(self.rows) + 1, figures)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Record and log the epoch's metrics."""
        assert logs is not None
        # A replicated variable has to be converted to a tensor to read its value.
        rate = tf.convert_to_tensor(self.model.optimizer.learning_rate)
        row = {"epoch": self._epochs[epoch] + 1, "learning_rate": seven_digits(rate)}
        row |= {name: seven_digits(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        self.rows.append(row)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        log.info("epoch %d of %d  %s", row["epoch"], self._epochs.stop, figures)
        following = min(int(row["epoch"]) + 1, self._epochs.stop)
        title, note = f"epoch {following} of {self._epochs.stop}", f"val_accuracy {row['val_accuracy']:.3f}"
        self._advance(0, note=note, title=title)
        if not all(np.isfinite(value) for value in row.values()):
            raise _diverged(int(row["epoch"]), figures)


def _diverged(epoch: int, figures: str) -> DivergedError:
    return DivergedError(
        f"The training diverged in epoch {epoch} ({figures}); lower the learning rate of this phase "
        "(python -m pipeline.find_lr suggests one), or lengthen its warm-up"
    )


class EarlyStoppingWithEma(keras.callbacks.EarlyStopping):
    """Early stopping that uses the moving average of the weights, if the optimizer maintains one.

    The averaged weights are validated, compared and restored. During training, and for all other callbacks, the network
    has the weights that are trained.
    """

    def __init__(self, phase: PhaseConfig):
        """Create the callback from a phase's `monitor`, `early_stopping_patience`, `restore_best` and `ema`."""
        super().__init__(
            monitor=phase.monitor,
            mode="min" if phase.monitor == "val_loss" else "max",
            patience=phase.epochs if phase.early_stopping_patience is None else phase.early_stopping_patience,
            restore_best_weights=phase.restore_best,
        )
        self._averages = phase.ema is not None
        self._trained: list[np.ndarray] = []

    def on_test_begin(self, _logs: Logs = None) -> None:
        """Load the averaged weights for validation."""
        if self._averages:
            # A replicated variable has to be converted to a tensor to read its value.
            self._trained = [tf.convert_to_tensor(each).numpy() for each in self.model.trainable_variables]
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, _logs: Logs = None) -> None:
        """Restore the trained weights after validation."""
        if self._averages:
            for variable, value in zip(self.model.trainable_variables, self._trained, strict=True):
                variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compare the epoch with the best one so far, and store its averaged weights if it is better."""
        self.on_test_begin()
        super().on_epoch_end(epoch, logs)
        self.on_test_end()


class EpochSeeds(keras.callbacks.Callback):
    """Callback that makes dropout in an epoch depend only on the seed and the epoch, not on earlier epochs."""

    def __init__(self, seed: int, first_epoch: int):
        """Create the callback; `first_epoch` of the fit is counted over both phases from 0."""
        super().__init__()
        self._seed, self._first = seed, first_epoch

    def on_epoch_begin(self, epoch: int, _logs: Logs = None) -> None:
        """Set the state of every random generator in the network."""
        states = [each for each in self.model.variables if each.name == "seed_generator_state"]
        for number, state in enumerate(states):
            draws = np.random.default_rng([self._seed, self._first + epoch, number])
            state.assign(draws.integers(0, 2**31, state.shape))
