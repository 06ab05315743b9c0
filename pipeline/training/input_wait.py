"""Fraction of the training time in which steps wait for their batches."""

from collections.abc import Callable
from time import perf_counter

import keras
import numpy as np

from pipeline.inputs.batches import Inputs
from pipeline.training.callbacks import Logs


class TimedInputs:
    """Inputs that record when each batch was loaded."""

    def __init__(self, inputs: Inputs):
        """Load from `inputs`."""
        self.shape, self.dtype = inputs.shape, inputs.dtype
        self.loaded: list[float] = []
        """Time at which each batch was loaded, in seconds, in order of time."""
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        """Return a batch; see `pipeline.inputs.batches.Inputs.take`."""
        batch = self._inputs.take(indices, variants)
        # Several threads load batches; appending is atomic.
        self.loaded.append(perf_counter())
        return batch


class InputWait(keras.callbacks.Callback):
    """Callback that compares the start of each training step with the time at which its batch was loaded.

    A step that starts first has to wait. On a GPU this is the most that it can wait: steps are begun before the earlier
    ones have ended.
    """

    def __init__(self, inputs: TimedInputs, clock: Callable[[], float] = perf_counter):
        """Create the callback for a fit on `inputs`, whose batches are used in the order in which they are loaded."""
        super().__init__()
        self._inputs, self._clock = inputs, clock
        self._steps: list[tuple[float, float]] = []
        self._started: float | None = None

    @property
    def fraction(self) -> float | None:
        """Return the fraction of their time that all steps but the first waited, 0 to 1; None if there is no other."""
        # During the first step the network is traced, for longer than all steps of a short fit take.
        if len(self._steps) < 2:
            return None
        starts, ends = np.array(self._steps[1:]).T
        loaded = np.array(self._inputs.loaded[1 : len(self._steps)])
        return float(np.clip(loaded - starts, 0, ends - starts).sum() / (ends - starts).sum())

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:  # noqa: ARG002 (Keras's signature)
        """Record the start of a step, and with it the end of the step before."""
        self._end_step()
        self._started = self._clock()

    def on_test_begin(self, logs: Logs = None) -> None:  # noqa: ARG002
        """Record the end of the epoch's last step, which validation follows."""
        self._end_step()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """Record the end of the epoch's last step if there was no validation."""
        self._end_step()

    def _end_step(self) -> None:
        if self._started is not None:
            self._steps.append((self._started, self._clock()))
            self._started = None
