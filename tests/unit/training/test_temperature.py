"""Temperatures of probabilities whose truth is known."""

import keras
import numpy as np
import pytest

from pipeline.models.classifier import apply_temperature
from pipeline.training.temperature import at_temperature, fit_temperature
from tests.support.probabilities import honest


def test_a_temperature_is_found_again():
    labels, probabilities = honest(20_000, 0)
    assert fit_temperature(labels, probabilities) == pytest.approx(1, abs=0.05)
    for temperature in (0.4, 2.5):
        # What is too sure by so much is mended by as much.
        assert fit_temperature(labels, at_temperature(probabilities, 1 / temperature)) == pytest.approx(
            temperature, rel=0.05
        )


def test_few_pictures_without_a_mistake_do_not_ask_for_certainty():
    labels = np.arange(40) % 2
    probabilities = np.where(np.eye(2)[labels] > 0, 0.9, 0.1).astype(np.float32)
    mended = at_temperature(probabilities, fit_temperature(labels, probabilities))
    # As sure as 41 right of 42 are.
    assert mended.max(axis=1).mean() == pytest.approx(41 / 42, abs=0.002)


def test_a_cooled_classifier_gives_calibrated_probabilities():
    inputs = keras.layers.Input((3,))
    head = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(4, "softmax")], name="head"
    )
    model = keras.Model(inputs, head(inputs))
    features = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    before = np.asarray(model(features, training=False))
    apply_temperature(model, 2.5)
    assert np.allclose(model(features, training=False), at_temperature(before, 2.5), atol=1e-6)
