"""Calibration on probabilities whose truth is known."""

import numpy as np
import pytest

from pipeline.evaluation.calibration import (
    calibration_error_by_chance,
    calibration_metrics,
    equal_widths,
    expected_calibration_error,
    quantiles,
    reliability,
)
from pipeline.training.temperature import at_temperature, fit_temperature
from tests.support.probabilities import honest


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
