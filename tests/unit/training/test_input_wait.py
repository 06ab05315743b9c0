"""How long training steps wait for batches that are loaded slowly or fast."""

import time
from itertools import count

import keras
import numpy as np
import pytest

from pipeline.inputs.batches import Labels, batches, in_order
from pipeline.training.input_wait import InputWait, TimedInputs


class Made:
    """Inputs of ones, of which each batch takes `seconds` to load."""

    shape, dtype = (4,), np.dtype(np.float32)

    def __init__(self, seconds: float):
        self._seconds = seconds

    def __len__(self) -> int:
        return 16

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        time.sleep(self._seconds)
        return np.ones((len(indices), *self.shape), np.float32)


def fitted(loading: float, computing: float, *, validated: bool) -> tuple[InputWait, TimedInputs]:
    inputs = TimedInputs(Made(loading))
    wait = InputWait(inputs)
    network = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, "softmax")])
    network.compile("sgd", "categorical_crossentropy")
    labels = Labels(np.zeros(16, int), 2)
    slow = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda *_, **__: time.sleep(computing))
    network.fit(
        batches(inputs, in_order(16), 2, epochs=range(2), labels=labels),
        steps_per_epoch=8,
        epochs=2,
        validation_data=batches(Made(0), in_order(16), 2, labels=labels) if validated else None,
        callbacks=[wait, slow],
        shuffle=False,
        verbose=0,
    )
    return wait, inputs


@pytest.mark.parametrize("validated", [True, False])
def test_a_fit_waits_for_slow_inputs_and_not_for_fast_ones(validated):
    waiting, inputs = fitted(0.1, 0.0, validated=validated)
    assert len(inputs.loaded) == 16
    slack, _ = fitted(0.0, 0.05, validated=validated)
    assert waiting.fraction > slack.fraction


def test_the_fraction_is_that_of_all_steps_but_the_first():
    inputs = TimedInputs(Made(0))
    ticks = count()
    wait = InputWait(inputs, clock=lambda: float(next(ticks)))
    for batch in range(3):
        wait.on_train_batch_begin(batch)
    wait.on_test_begin()
    wait.on_epoch_end(0)
    wait.on_train_batch_begin(0)
    wait.on_epoch_end(1)
    times = np.array(wait._steps)
    assert len(times) == 4
    inputs.loaded = [times[0, 1], times[1, 0] - 5, *(times[2:, 0] + [0.25, 9])]
    lengths = times[:, 1] - times[:, 0]
    assert wait.fraction == pytest.approx((0.25 + lengths[3]) / lengths[1:].sum())


def test_a_single_step_has_no_fraction():
    wait = InputWait(TimedInputs(Made(0)))
    wait.on_train_batch_begin(0)
    wait.on_epoch_end(0)
    assert wait.fraction is None
