"""Linear classifiers that are fitted without gradient descent, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as RidgeRegression

from pipeline.training.linear_models import Logistic, Ridge, Samples


class Features:
    """Features of images in variants, float32 [variants, n, d]."""

    def __init__(self, values: np.ndarray):
        self.content, self.shape, self.dtype = values, values.shape[2:], values.dtype

    def __len__(self) -> int:
        return self.content.shape[1]

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        return self.content[variants, indices]


def made(classes: int, variants: int = 1, count: int = 90, width: int = 8) -> Samples:
    draws = np.random.default_rng(1)
    labels = np.arange(count) % classes
    values = draws.standard_normal((variants, count, width)).astype(np.float32) + 3
    values[:, :, :classes] += np.eye(classes, dtype=np.float32)[labels]
    weights = draws.uniform(0.5, 2, count).astype(np.float32)
    return Samples(Features(values), variants, 0.5, labels, classes, weights, np.arange(count) // classes % 3)


@pytest.mark.parametrize("left_out", [None, 1])
def test_ridge_from_sums_is_ridge_regression_on_all_rows(left_out):
    samples = made(3, variants=2)
    [found] = Ridge(samples, 1).fits(left_out, [4.0])
    chosen = np.flatnonzero(samples.folds != left_out)
    values = np.concatenate([samples.values(chosen, variant) for variant in (0, 1)])
    targets, weights = 10 * np.eye(3)[samples.labels[chosen]], samples.weights[chosen] / 2
    expected = RidgeRegression(alpha=4.0).fit(values, np.tile(targets, (2, 1)), np.tile(weights, 2))
    np.testing.assert_allclose(found.kernel, expected.coef_.T, atol=1e-4)
    np.testing.assert_allclose(found.bias, expected.intercept_, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_of_logistic_regression_are_its_log_probabilities(classes):
    samples = made(classes)
    *_, found = Logistic(samples, 1).fits(0, [100.0, 1.0])
    chosen = np.flatnonzero(samples.folds != 0)
    values = samples.values(chosen)
    expected = LogisticRegression(C=1.0, max_iter=1000).fit(values, samples.labels[chosen], samples.weights[chosen])
    scores = found.scores(values)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected.predict_proba(values), atol=2e-3)


def test_a_class_that_the_other_folds_lack_is_not_predicted():
    samples = made(3)
    samples.folds[:] = np.where(samples.labels == 2, 0, 1 + np.arange(90) // 3 % 2)
    for solver in (Ridge, Logistic):
        [found] = solver(samples, 1).fits(0, [10.0])
        assert set(found.scores(samples.values(np.arange(90))).argmax(axis=1)) == {0, 1}


def test_two_folds_of_one_class_each_leave_a_constant():
    samples = made(2)
    samples.folds[:] = samples.labels
    [found] = Logistic(samples, 1).fits(0, [1.0])
    assert (found.scores(samples.values(np.arange(90))).argmax(axis=1) == 1).all()
