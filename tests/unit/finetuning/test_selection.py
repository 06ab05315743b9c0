"""Between the weights that a phase began with and those that it ended with."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.finetuning.selection import Place, best_place

# Two classes, told apart by one weight of the first logit; at 0.6 of the way from -1 to 4 a target of soft labels is met.
INPUTS = np.ones((4, 1), np.float32)
LABELS = np.tile(tf.nn.softmax([2.0, 0.0]).numpy(), (4, 1))


@pytest.fixture
def network():
    dense = keras.layers.Dense(2, use_bias=False, activation="softmax")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile(loss="categorical_crossentropy", metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")])
    return model


def _tried(network, start: float, end: float, shares) -> tuple[Place, float, list[str]]:
    network.set_weights([np.array([[end, 0.0]])])
    validation = tf.data.Dataset.from_tensor_slices((INPUTS, LABELS)).batch(3)
    found = network.evaluate(validation, verbose=0, return_dict=True)
    ended, told = {"share": 1, "val_loss": found["loss"], "val_accuracy": found["accuracy"]}, []
    began = [np.array([[start, 0.0]], np.float32)]
    place = best_place(network, network, began, ended, shares, validation, told.append)
    left = network.evaluate(validation, verbose=0, return_dict=True)
    assert (left["loss"], left["accuracy"]) == pytest.approx((place["val_loss"], place["val_accuracy"]), rel=1e-6)
    return place, float(network.get_weights()[0][0, 0]), told


def test_the_best_place_on_the_way_is_kept(network):
    place, weight, told = _tried(network, -1, 4, [0.2, 0.4, 0.6, 0.8])
    assert place["share"] == 0.6
    assert weight == pytest.approx(2, abs=1e-6)
    assert len(told) == 4


def test_weights_that_were_best_at_the_end_stay_to_the_bit(network):
    place, weight, _ = _tried(network, -3, 2, [0.5, 0.9])
    assert place["share"] == 1
    assert weight == 2


def test_accuracy_counts_before_loss(network):
    # Surer than it may be of what is right has the higher loss than hardly wrong.
    place, weight, _ = _tried(network, -0.1, 30, [0.001])
    assert (place["share"], weight, place["val_accuracy"]) == (1, 30, 1)
