"""Answers to unequal classes: weights, balanced epochs, and accuracies under another mix."""

import numpy as np
import pytest

from pipeline.evaluation.metrics import prior_adjusted_accuracy
from pipeline.inputs.batches import balanced
from pipeline.system.errors import PipelineError
from pipeline.training.data import class_weights

LABELS = np.repeat([0, 1, 2], [90, 9, 1])
CLASSES = ["a", "b", "c"]


def test_weights():
    assert class_weights("none", LABELS, CLASSES) is None
    weights = class_weights("balanced", LABELS, CLASSES)
    assert [weights[index] * count for index, count in enumerate((90, 9, 1))] == pytest.approx([100 / 3] * 3)
    assert class_weights({"b": 2}, LABELS, CLASSES) == {0: 1.0, 1: 2.0, 2: 1.0}
    # YAML reads a class called 1 as a number.
    assert class_weights({1: 3}, LABELS, ["0", "1", "2"])[1] == 3


def test_a_weight_for_a_class_that_there_is_not():
    with pytest.raises(
        PipelineError, match=r"train\.class_weight: there is no class 'd'; the classes are 'a', 'b', 'c'"
    ):
        class_weights({"d": 2}, LABELS, CLASSES)


def test_balanced_epochs_show_each_class_as_often():
    plan = balanced(LABELS, views=5, seed=1)
    order, views = plan(0)
    assert len(order) == len(LABELS)
    assert np.bincount(LABELS[order]).tolist() in ([34, 33, 33], [33, 34, 33], [33, 33, 34])
    # The only image of the last class comes in all of its views.
    assert set(views[order == 99]) == set(range(5))
    assert len(set(order[LABELS[order] == 0])) == (LABELS[order] == 0).sum()


def test_balanced_epochs_are_a_function_of_the_seed_and_differ():
    plan, again = balanced(LABELS, 1, 1), balanced(LABELS, 1, 1)
    assert np.array_equal(plan(3)[0], again(3)[0])
    assert not np.array_equal(plan(3)[0], plan(4)[0])
    assert not np.array_equal(plan(3)[0], balanced(LABELS, 1, 2)(3)[0])
    seen = np.unique(np.concatenate([plan(epoch)[0] for epoch in range(20)]))
    assert len(seen) == 100


def test_the_prior_adjusted_accuracy_is_that_of_the_training_mix():
    training = np.repeat([0, 1], [90, 10])
    labels = np.repeat([0, 1], [50, 50])
    predicted = np.concatenate([np.zeros(50, int), np.zeros(25, int), np.ones(25, int)])
    assert (predicted == labels).mean() == 0.75
    assert prior_adjusted_accuracy(labels, predicted, training) == pytest.approx(0.9 * 1 + 0.1 * 0.5)
    assert prior_adjusted_accuracy(labels, predicted, labels) == pytest.approx(0.75)


def test_classes_without_a_test_picture_count_for_nothing():
    assert prior_adjusted_accuracy(np.array([0, 0]), np.array([0, 2]), np.array([0, 0, 1, 2])) == pytest.approx(0.5)
