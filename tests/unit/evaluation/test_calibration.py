"""Calibration on probabilities whose truth is known."""

import keras
import numpy as np
import pytest

from pipeline.evaluation.calibration import (
    at_temperature,
    calibration_error_by_chance,
    calibration_metrics,
    equal_widths,
    expected_calibration_error,
    fit_temperature,
    quantiles,
    reliability,
)
from pipeline.models.classifier import apply_temperature


def honest(count: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels that are drawn by the very probabilities."""
    generator = np.random.default_rng(seed)
    powers = np.exp(2 * generator.normal(size=(count, classes)))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > generator.random((count, 1))).argmax(axis=1)
    return labels, probabilities.astype(np.float32)


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


def test_scaling_keeps_the_class_and_mends_the_error():
    labels, probabilities = honest(5000, 1)
    sharp = at_temperature(probabilities, 0.3)
    others, plain = honest(5000, 2)
    mended = at_temperature(sharp, fit_temperature(others, at_temperature(plain, 0.3)))
    assert np.array_equal(mended.argmax(axis=1), sharp.argmax(axis=1))
    assert expected_calibration_error(labels, mended, 15) < expected_calibration_error(labels, sharp, 15) / 4
    assert np.allclose(at_temperature(probabilities, 1), probabilities, atol=1e-6)


def test_the_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.05, 0.95]])
    labels = np.array([0, 1, 1, 1])
    table = reliability(labels, probabilities, equal_widths(2), 0.95)
    # All four lie in the upper bin: mean confidence 0.8, three of four right.
    assert table["images"].tolist() == [0, 4]
    assert table["accuracy"].tolist()[1] == 0.75
    assert table["confidence"].tolist()[1] == pytest.approx(0.8)
    assert table.loc[1, "accuracy_low"] < 0.75 < table.loc[1, "accuracy_high"]
    assert table.loc[0].isna().sum() == 4
    assert expected_calibration_error(labels, probabilities, 2) == pytest.approx(0.05)
    assert set(calibration_metrics(labels, probabilities, 2, "before")) == {
        "loss_before",
        "brier_before",
        "ece_before",
        "ece_by_chance_before",
    }


def test_of_few_images_even_honest_probabilities_show_an_error():
    errors, chances = [], []
    for seed in range(60):
        labels, probabilities = honest(300, seed)
        errors.append(expected_calibration_error(labels, probabilities, 15))
        chances.append(calibration_error_by_chance(probabilities, 15))
    assert np.mean(errors) == pytest.approx(np.mean(chances), rel=0.1)
    assert np.mean(chances) > 0.03
    # It falls with the root of their number.
    assert calibration_error_by_chance(honest(30_000, 0)[1], 15) == pytest.approx(np.mean(chances) / 10, rel=0.15)


def test_certainty_falls_into_the_last_bin():
    assert reliability(np.array([0]), np.array([[1.0, 0.0]]), equal_widths(10), 0.95)["images"].tolist() == [0] * 9 + [
        1
    ]


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


def test_a_bin_holds_its_upper_edge():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.75, 0.25, 0.0], [0.76, 0.24, 0.0]])
    assert reliability(np.zeros(3, int), probabilities, equal_widths(4), 0.95)["images"].tolist() == [0, 1, 1, 1]


def test_bins_by_quantile_hold_about_equally_many_images():
    labels, probabilities = honest(1000, 3)
    table = reliability(labels, probabilities, quantiles(probabilities, 10), 0.95)
    assert table["images"].tolist() == pytest.approx([100] * 10, abs=2)
    # Equal confidences can't be divided.
    same = np.tile([0.9, 0.1], (50, 1))
    assert reliability(np.zeros(50, int), same, quantiles(same, 10), 0.95)["images"].tolist() == [50, 0]
