"""Figures and intervals against scipy, statsmodels, scikit-learn and simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    roc_auc_score,
    top_k_accuracy_score,
)

from pipeline.evaluation.intervals import Bootstrap, estimates, wilson
from pipeline.evaluation.metrics import auc_influence, class_aucs, in_top


def made(sizes, sharpness: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of so many images a class, and probabilities that know something of them."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    logits = generator.normal(size=(len(labels), len(sizes)))
    logits[np.arange(len(labels)), labels] += sharpness * (1 + 0.5 * (labels % 2))
    powers = np.exp(logits)
    return labels, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("sizes", [(40, 60), (5, 30, 20, 10, 15, 8, 12)])
def test_figures_are_those_of_scikit_learn(sizes):
    labels, probabilities = made(sizes, 1.2, 0)
    found = {
        name: each.value
        for name, each in estimates(labels, probabilities, top_k=5, resamples=100, confidence=0.95, seed=0).items()
    }
    predicted, exact = probabilities.argmax(axis=1), probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    expected = {
        "accuracy": (predicted == labels).mean(),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "loss": log_loss(labels, exact),
        "brier": brier_score_loss(labels, exact, scale_by_half=False) if len(sizes) > 2 else 2 * brier_score_loss(labels, exact[:, 1]),
        "auc": roc_auc_score(labels, exact, multi_class="ovr") if len(sizes) > 2 else roc_auc_score(labels, exact[:, 1]),
    }  # fmt: skip
    if len(sizes) > 5:
        expected["top5_accuracy"] = top_k_accuracy_score(labels, exact, k=5)
    assert found == pytest.approx(expected, abs=1e-6)


def test_wilson_is_that_of_scipy():
    for hits, count in ((0, 7), (3, 7), (340, 341), (400, 400)):
        theirs = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
        assert wilson(hits, count, 0.95) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
    assert [float(end) for end in wilson(0, 0, 0.95)] == [0, 1]


def test_resamples_keep_every_class_and_are_means_of_what_was_drawn():
    labels = np.array([1, 0, 1, 2, 1, 0])
    bootstrap = Bootstrap(labels, 400, 7)
    one_hot = np.eye(3)[labels]
    assert np.allclose(bootstrap.means(one_hot), one_hot.mean(axis=0))
    values = np.arange(6.0)[:, np.newaxis]
    drawn = bootstrap.means(values)[:, 0]
    assert np.array_equal(drawn, Bootstrap(labels, 400, 7).means(values)[:, 0])
    assert drawn.std() > 0
    assert drawn.mean() == pytest.approx(2.5, abs=0.1)


def test_resampled_macro_f1_is_scikit_learns_on_the_drawn_images():
    labels, probabilities = made((6, 9, 4), 0.8, 3)
    predicted, bootstrap = probabilities.argmax(axis=1), Bootstrap(labels, 50, 1)
    # The weights of each resample, by resampling the identity.
    counts = np.rint(bootstrap.means(np.eye(len(labels))) * len(labels)).astype(int)
    expected = [
        f1_score(np.repeat(labels, each), np.repeat(predicted, each), average="macro", zero_division=0)
        for each in counts
    ]
    assert bootstrap.macro_f1(predicted[:, np.newaxis], 3)[:, 0] == pytest.approx(np.array(expected), abs=1e-6)


def test_the_stratified_bootstrap_agrees_with_the_standard_error_that_has_a_formula():
    labels, probabilities = made((150, 250), 0.8, 5)
    hits = probabilities.argmax(axis=1) == labels
    shares = np.array([hits[labels == each].mean() for each in (0, 1)])
    spread = np.sqrt((shares * (1 - shares) * np.array([150, 250])).sum()) / 400
    found = Bootstrap(labels, 20_000, 0).means(hits[:, np.newaxis].astype(float)).std()
    assert found == pytest.approx(spread, rel=0.03)


def test_shares_of_the_auc_vary_as_delong_says():
    """Of two classes, against the variance by placement values, written out."""
    labels, probabilities = made((30, 50), 0.7, 2)
    positive, scores = labels == 1, probabilities[:, 1].astype(np.float64)
    above, below = scores[positive], scores[~positive]
    psi = (above[:, None] > below[None, :]) + 0.5 * (above[:, None] == below[None, :])
    shares = auc_influence(labels, probabilities)
    assert shares.mean() == pytest.approx(psi.mean(), abs=1e-6)
    assert class_aucs(labels, probabilities)[1] == pytest.approx(psi.mean(), abs=1e-6)
    variance = psi.mean(axis=1).var() / len(above) + psi.mean(axis=0).var() / len(below)
    deviations = shares - shares.mean()
    by_class = [deviations[labels == each] for each in (0, 1)]
    found = sum(len(each) * each.var() for each in by_class) / len(labels) ** 2
    assert found == pytest.approx(variance, rel=1e-4)


def test_ties_go_to_the_earlier_class_as_in_argmax():
    probabilities = np.array([[0.5, 0.5, 0.0], [0.4, 0.2, 0.4], [1 / 3, 1 / 3, 1 / 3]])
    for label in range(3):
        labels = np.full(3, label)
        assert np.array_equal(in_top(labels, probabilities, 1), probabilities.argmax(axis=1) == labels)


def test_faultless_predictions_are_not_certain_ones():
    labels = np.repeat([0, 1], [50, 150])
    probabilities = np.eye(2)[labels] * 0.98 + 0.01
    found = estimates(labels, probabilities, top_k=5, resamples=200, confidence=0.95, seed=0)
    low, high = stats.binomtest(200, 200).proportion_ci(0.95, "wilson")
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((low, high))
    # A mean over classes of 50 and 150 is worth as much as one over 75 and 75.
    assert found["balanced_accuracy"].low == pytest.approx(stats.binomtest(150, 150).proportion_ci(0.95, "wilson").low)
    for name in ("balanced_accuracy", "macro_f1", "auc"):
        assert found[name].value == pytest.approx(1)
        assert found[name].high == pytest.approx(1)
        assert 0.9 < found[name].low < 1


def test_a_class_without_test_images_and_a_test_set_of_one_class():
    labels, probabilities = made((10, 10, 10), 1, 0)
    there = labels < 2
    found = estimates(labels[there], probabilities[there], top_k=5, resamples=100, confidence=0.95, seed=0)
    hits = probabilities.argmax(axis=1) == labels
    assert found["balanced_accuracy"].value == pytest.approx(np.mean([hits[labels == each].mean() for each in (0, 1)]))
    assert "auc" in found
    assert "auc" not in estimates(
        labels[labels == 0], probabilities[labels == 0], top_k=5, resamples=100, confidence=0.95, seed=0
    )


def test_intervals_cover_the_truth_as_often_as_they_say():
    """95 % intervals of 300 made test sets against the figures of one that is a thousand times larger."""
    sizes, sharpness, repeats = (60, 90, 120, 130), 1.5, 300
    labels, probabilities = made(tuple(1000 * size for size in sizes), sharpness, 0)
    truth = {
        name: each.value
        for name, each in estimates(labels, probabilities, top_k=2, resamples=1, confidence=0.95, seed=0).items()
    }
    covered = dict.fromkeys(truth, 0)
    for repeat in range(repeats):
        for name, each in estimates(
            *made(sizes, sharpness, repeat + 1), top_k=2, resamples=400, confidence=0.95, seed=repeat
        ).items():
            covered[name] += each.low <= truth[name] <= each.high
    # 95 % of 300, give or take three of its standard deviations.
    assert all(0.91 <= count / repeats <= 0.99 for count in covered.values()), covered
