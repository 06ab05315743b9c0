"""Choice between phases, and between a round's first and last weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.finetuning.finetuner import better_phase, interpolate
from pipeline.training import Row
from pipeline.training.fit import Fitted

# Two classes, separated by one weight of the first logit; at 0.6 between -1 and 4 it meets the soft labels.
INPUTS = np.ones((4, 1), np.float32)
LABELS = np.tile(np.float32(np.exp([2.0, 0.0]) / np.exp([2.0, 0.0]).sum()), (4, 1))


@pytest.fixture
def network():
    dense = keras.layers.Dense(2, use_bias=False, activation="softmax")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile(loss="categorical_crossentropy", metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")])
    return model


def interpolated(network, first: float, last: float, alphas: list[float]) -> tuple[Row, float]:
    network.set_weights([np.array([[last, 0.0]])])
    validation = tf.data.Dataset.from_tensor_slices((INPUTS, LABELS)).batch(3)
    metrics = network.evaluate(validation, verbose=0, return_dict=True)
    end = {"val_loss": metrics["loss"], "val_accuracy": metrics["accuracy"]}
    start = [np.array([[first, 0.0]], np.float32)]
    best = interpolate(Fitted([end], end, np.empty(0), network, validation), network, start, alphas)
    kept = network.evaluate(validation, verbose=0, return_dict=True)
    assert (kept["loss"], kept["accuracy"]) == pytest.approx((best["val_loss"], best["val_accuracy"]), rel=1e-6)
    return best, float(network.get_weights()[0][0, 0])


def test_the_best_weights_are_kept(network, caplog):
    with caplog.at_level("INFO", "pipeline"):
        best, weight = interpolated(network, -1, 4, [0.2, 0.4, 0.6, 0.8])
    assert best["alpha"] == 0.6
    assert weight == pytest.approx(2, abs=1e-6)
    tried = [record.getMessage()[:14] for record in caplog.records[1:5]]
    assert tried == [f"weights at {alpha}" for alpha in (0.8, 0.6, 0.4, 0.2)]
    assert "kept the weights at 0.6 of the way: val_accuracy" in caplog.text


def test_last_weights_that_are_best_stay_to_the_bit(network):
    best, weight = interpolated(network, -3, 2, [0.5, 0.9])
    assert best["alpha"] == 1
    assert weight == 2


def test_accuracy_counts_before_loss(network):
    # A right prediction that is too sure has a higher loss than one that is barely wrong.
    best, weight = interpolated(network, -0.1, 30, [0.001])
    assert (best["alpha"], weight, best["val_accuracy"]) == (1, 30, 1)


def test_the_better_phase_is_the_more_accurate_one_then_the_one_of_less_loss_then_the_simpler_one():
    def phase(accuracy: float, loss: float) -> Row:
        return {"val_accuracy": accuracy, "val_loss": loss}

    assert better_phase(phase(0.9, 0.1), phase(0.91, 0.5)) == "finetune"
    assert better_phase(phase(0.9, 0.3), phase(0.9, 0.2)) == "finetune"
    assert better_phase(phase(0.9, 0.3), phase(0.9, 0.3)) == "train"
    assert better_phase(phase(0.9, 0.3), phase(0.8, 0.1)) == "train"
