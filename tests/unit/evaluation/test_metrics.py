"""Accuracy under another mix of classes."""

import numpy as np
import pytest

from pipeline.evaluation.metrics import prior_adjusted_accuracy


def test_the_prior_adjusted_accuracy_is_that_of_the_training_mix():
    training = np.repeat([0, 1], [90, 10])
    labels = np.repeat([0, 1], [50, 50])
    predicted = np.concatenate([np.zeros(50, int), np.zeros(25, int), np.ones(25, int)])
    assert (predicted == labels).mean() == 0.75
    assert prior_adjusted_accuracy(labels, predicted, training) == pytest.approx(0.9 * 1 + 0.1 * 0.5)
    assert prior_adjusted_accuracy(labels, predicted, labels) == pytest.approx(0.75)


def test_classes_without_a_test_image_count_for_nothing():
    assert prior_adjusted_accuracy(np.array([0, 0]), np.array([0, 2]), np.array([0, 0, 1, 2])) == pytest.approx(0.5)
