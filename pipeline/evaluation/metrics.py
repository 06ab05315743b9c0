"""Metrics of classification as functions of labels and probabilities, and the table `METRICS` of all metrics.

Metrics that are means over images are computed per image. That makes resampling cheap, and two models can be compared
image by image. The module imports only NumPy, because reports and command lines use the table too.
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
        """Return the entries of metrics.json: `name`, `name_low` and `name_high`."""
        return {name: float(self.value), f"{name}_low": float(self.low), f"{name}_high": float(self.high)}


def hits(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return whether the most probable class is the label, bool [n]."""
    return probabilities.argmax(axis=1) == labels


def in_top(labels: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return whether the label is among the `k` most probable classes, bool [n]; ties go to the lower class index."""
    of_label = probabilities[np.arange(len(labels)), labels][:, np.newaxis]
    earlier = np.arange(probabilities.shape[1]) < labels[:, np.newaxis]
    return ((probabilities > of_label) | ((probabilities == of_label) & earlier)).sum(axis=1) < k


def losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the negative log-likelihood of each image's label in nats, float64 [n].

    Probabilities are clipped below at float64's epsilon, as in scikit-learn's `log_loss`.
    """
    return -np.log(np.clip(_of_label(labels, probabilities), np.finfo(np.float64).eps, 1))


def brier_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the squared distance of each image's probabilities from its one-hot label, float64 [n] in [0, 2].

    Source: G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    squares = np.square(probabilities).sum(axis=1, dtype=np.float64) / _totals(probabilities) ** 2
    return squares - 2 * _of_label(labels, probabilities) + 1


def _of_label(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the normalized probability of each image's label, float64 [n]."""
    return probabilities[np.arange(len(labels)), labels] / _totals(probabilities)


def _totals(probabilities: np.ndarray) -> np.ndarray:
    """Compute the sum of each row, float64 [n], which differs slightly from 1 because probabilities are float32."""
    return probabilities.sum(axis=1, dtype=np.float64)


def recall_contributions(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Compute each image's contribution to balanced accuracy, float64 [n].

    Balanced accuracy is the mean recall of the classes that occur, and the mean of these contributions.

    Args:
        labels: Class indices, int [n].
        right: Whether each image is predicted correctly, bool [n].
    """
    counts = np.bincount(labels)
    return right * len(labels) / (np.count_nonzero(counts) * counts[labels])


def auc_influence(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute each image's contribution to AUC (one-vs-rest, averaged over the classes that occur).

    The mean of the contributions is the AUC. They are its first-order expansion in the weights of the images, so that
    resampling them approximates resampling the AUC.

    Returns:
        float64 [n]; all NaN if only one class occurs.

    Source:
        Placement values: E. R. DeLong et al., Comparing the Areas under Two or More Correlated ROC Curves, 1988.
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    present = np.flatnonzero((counts > 0) & (counts < len(labels)))
    deviations, areas = np.zeros(len(labels)), []
    for each in present:
        positive = labels == each
        above, below = probabilities[positive, each], probabilities[~positive, each]
        # Fraction of the other side's images that an image is ranked correctly against; a tie counts as one half.
        placed = _rank(np.sort(below), above) / len(below)
        placed_rest = 1 - _rank(np.sort(above), below) / len(above)
        areas.append(placed.mean())
        deviations[positive] += (placed - areas[-1]) / len(above)
        deviations[~positive] += (placed_rest - areas[-1]) / len(below)
    if not areas:
        return np.full(len(labels), np.nan)
    return np.mean(areas) + deviations * len(labels) / len(areas)


def class_aucs(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the one-vs-rest AUC of each class, float64 [classes]; NaN if none or all of the labels are that class."""
    areas = np.full(probabilities.shape[1], np.nan)
    for each in range(probabilities.shape[1]):
        positive = labels == each
        if 0 < positive.sum() < len(labels):
            below = np.sort(probabilities[~positive, each])
            areas[each] = _rank(below, probabilities[positive, each]).mean() / len(below)
    return areas


def _rank(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Count the elements of the sorted array `ordered` below each value; ties count as one half."""
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def prior_adjusted_accuracy(labels: np.ndarray, predicted: np.ndarray, training: np.ndarray) -> float:
    """Compute the accuracy to expect if the test images had the class frequencies of the training images.

    It is the mean recall of the classes, weighted by their numbers of training images. Classes without test images are
    ignored.

    Args:
        labels: Class indices of the test images, int [n].
        predicted: Predicted class indices, int [n].
        training: Class indices of the training images, int [m].
    """
    size = int(max(labels.max(), training.max())) + 1
    occurring = np.bincount(labels, minlength=size)
    right = np.bincount(labels[predicted == labels], minlength=size)
    weights = np.bincount(training, minlength=size) * (occurring > 0)
    return float((right / np.maximum(occurring, 1) * weights).sum() / weights.sum())


PerImage = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Function of labels int [n], probabilities float [n, classes] and k; returns values [n] whose mean is the metric."""


@dataclass(frozen=True)
class Metric:
    """Definition of a metric: its computation, its kind of interval, and its display."""

    label: str
    """Name in reports, in which {k} is replaced by `evaluate.top_k`."""
    per_image: PerImage | None = None
    """Values of the images; None if the metric is not a mean over images (macro F1, ECE)."""
    higher_is_better: bool = True
    bounded: bool = True
    """Whether the metric is in [0, 1], with 1 as the best value; otherwise it is in [0, ∞)."""
    is_proportion: bool = False
    """Whether it is a proportion of images, with a Wilson interval and McNemar's test instead of the bootstrap."""
    averages_classes: bool = False
    """Whether it is a mean over classes, in which each image of a small class has a large weight."""
    beside_others: bool = False
    """Whether comparisons show it in addition to the metric of the ranking."""

    @property
    def has_interval(self) -> bool:
        """Return whether the metric has a confidence interval; only then can models be ranked by it."""
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
    # No interval, because resampling increases the ECE. Reports show the ECE of a calibrated model (ece_by_chance).
    "ece": Metric("calibration (ECE)", higher_is_better=False, beside_others=True),
    "top_k": Metric("top-{k} accuracy", in_top, is_proportion=True),
}
"""All metrics by name, in the order in which reports show them."""
RANKING_METRICS = tuple(name for name, metric in METRICS.items() if metric.has_interval)
"""Names of the metrics by which models can be ranked."""


def stored_name(metric: str, top_k: int) -> str:
    """Return the name of a metric in metrics.json and MLflow, such as top5_accuracy."""
    return f"top{top_k}_accuracy" if metric == "top_k" else metric
