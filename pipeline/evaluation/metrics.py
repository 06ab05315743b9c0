"""Metrics as functions of labels and probabilities, image by image where they are means, and the table of all of them.

Means over images are cheap to resample, and two models can be compared image by image. NumPy alone: reports and command
lines need the table's names and labels too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A metric's value with its confidence interval."""

    value: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """As in metrics.json: `name`, `name_low` and `name_high`."""
        return {name: float(self.value), f"{name}_low": float(self.low), f"{name}_high": float(self.high)}


def hits(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return whether the most probable class is the label: bool [n]."""
    return probabilities.argmax(axis=1) == labels


def in_top(labels: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return whether the label is among the `k` most probable classes, earlier ones first where equal: bool [n]."""
    of_label = probabilities[np.arange(len(labels)), labels][:, np.newaxis]
    earlier = np.arange(probabilities.shape[1]) < labels[:, np.newaxis]
    return ((probabilities > of_label) | ((probabilities == of_label) & earlier)).sum(axis=1) < k


def losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Negative log likelihood of each image's label, in nats: float64 [n].

    A probability of 0 counts as float64's epsilon, as in scikit-learn's `log_loss`.
    """
    return -np.log(np.clip(_of_label(labels, probabilities), np.finfo(np.float64).eps, 1))


def brier_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance of each image's probabilities from its label as one-hot: float64 [n] in [0, 2].

    Source: G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    squares = np.square(probabilities).sum(axis=1, dtype=np.float64) / _totals(probabilities) ** 2
    return squares - 2 * _of_label(labels, probabilities) + 1


def _of_label(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Probability of each image's label, float64 [n]."""
    return probabilities[np.arange(len(labels)), labels] / _totals(probabilities)


def _totals(probabilities: np.ndarray) -> np.ndarray:
    """Sum of each row: only nearly 1, since probabilities are float32."""
    return probabilities.sum(axis=1, dtype=np.float64)


def recall_contributions(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Contribution of each image to balanced accuracy, the mean recall of the classes that occur: float64 [n].

    Args:
        labels: class indices, int [n].
        right: which images are predicted rightly, bool [n].
    """
    counts = np.bincount(labels)
    return right * len(labels) / (np.count_nonzero(counts) * counts[labels])


def auc_influence(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Contribution of each image to AUC, one class against the rest, mean of the classes that occur.

    Their mean is the area itself, and they vary as it does: they are its first-order expansion in the weights of the
    images.

    Returns:
        float64 [n]; NaN where only one class occurs.

    Source:
        Placement values: E. R. DeLong et al., Comparing the Areas under Two or More Correlated ROC Curves, 1988.
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    present = np.flatnonzero((counts > 0) & (counts < len(labels)))
    deviations, areas = np.zeros(len(labels)), []
    for each in present:
        positive = labels == each
        above, below = probabilities[positive, each], probabilities[~positive, each]
        # The fraction of the other side that an image is on the right side of; a tie is half right.
        placed = _rank(np.sort(below), above) / len(below)
        placed_rest = 1 - _rank(np.sort(above), below) / len(above)
        areas.append(placed.mean())
        deviations[positive] += (placed - areas[-1]) / len(above)
        deviations[~positive] += (placed_rest - areas[-1]) / len(below)
    if not areas:
        return np.full(len(labels), np.nan)
    return np.mean(areas) + deviations * len(labels) / len(areas)


def class_aucs(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Area under each class's ROC curve against the rest: float64 [classes], NaN where all or no labels are its."""
    areas = np.full(probabilities.shape[1], np.nan)
    for each in range(probabilities.shape[1]):
        positive = labels == each
        if 0 < positive.sum() < len(labels):
            below = np.sort(probabilities[~positive, each])
            areas[each] = _rank(below, probabilities[positive, each]).mean() / len(below)
    return areas


def _rank(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Count of `ordered` below each value, ties as halves."""
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def prior_adjusted_accuracy(labels: np.ndarray, predicted: np.ndarray, training: np.ndarray) -> float:
    """Accuracy of these predictions if the classes were mixed as in training: recalls, weighted by the training images.

    Args:
        labels: class indices of the test images, int [n].
        predicted: predicted class indices, int [n].
        training: class indices of the training images, int [m]; classes without a test image do not count.
    """
    size = int(max(labels.max(), training.max())) + 1
    occurring = np.bincount(labels, minlength=size)
    right = np.bincount(labels[predicted == labels], minlength=size)
    weights = np.bincount(training, minlength=size) * (occurring > 0)
    return float((right / np.maximum(occurring, 1) * weights).sum() / weights.sum())


PerImage = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Labels int [n], probabilities float [n, classes] and `evaluate.top_k`, to values [n] whose mean is the metric."""


@dataclass(frozen=True)
class Metric:
    """A metric of one model: how it is computed, what its interval is, and where it is shown."""

    label: str
    """As reports show it; {k} is `evaluate.top_k`."""
    per_image: PerImage | None = None
    """None where the metric is not a mean over images: macro F1 (see `pipeline.evaluation.intervals`), ECE."""
    higher_is_better: bool = True
    bounded: bool = True
    """Whether it is between 0 and 1, and 1 is the best; if not, it is positive without an upper limit."""
    is_proportion: bool = False
    """Whether it is a proportion of images: Wilson's interval and McNemar's test instead of the bootstrap."""
    averages_classes: bool = False
    """Whether it is a mean over classes, so that few images of one class weigh much."""
    beside_others: bool = False
    """Whether comparisons show it beside the metric that they rank by."""

    @property
    def has_interval(self) -> bool:
        """Whether it can be resampled, hence has an interval, and models can be ranked by it."""
        return self.per_image is not None or self is METRICS["macro_f1"]


METRICS = {
    "accuracy": Metric("accuracy", lambda y, p, _: hits(y, p), is_proportion=True, beside_others=True),
    "macro_f1": Metric("macro F1", averages_classes=True, beside_others=True),
    "balanced_accuracy": Metric(
        "balanced accuracy", lambda y, p, _: recall_contributions(y, hits(y, p)), averages_classes=True
    ),
    "auc": Metric("AUC", lambda y, p, _: auc_influence(y, p), averages_classes=True),
    "loss": Metric("log loss", lambda y, p, _: losses(y, p), higher_is_better=False, bounded=False, beside_others=True),
    "brier": Metric("Brier score", lambda y, p, _: brier_scores(y, p), higher_is_better=False, bounded=False),
    # Resampling inflates it; the ECE of a faultless model, ece_by_chance, is shown instead of an interval.
    "ece": Metric("calibration (ECE)", higher_is_better=False, beside_others=True),
    "top_k": Metric("top-{k} accuracy", in_top, is_proportion=True),
}
"""All metrics, in the order in which reports show them."""
RANKING_METRICS = tuple(name for name, metric in METRICS.items() if metric.has_interval)
"""Metrics that models can be ranked by."""


def figure_name(metric: str, top_k: int) -> str:
    """Name of a metric in metrics.json and MLflow, such as top5_accuracy."""
    return f"top{top_k}_accuracy" if metric == "top_k" else metric
