"""Figures as means over images, which makes them cheap to resample and to compare image by image."""

import numpy as np


def losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Negative log likelihood of each image's label, in nats: float64 [n].

    A probability of 0 counts as float64's epsilon, as in scikit-learn's `log_loss`.
    """
    return -np.log(np.clip(_of_label(labels, probabilities), np.finfo(np.float64).eps, 1))


def brier_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance of each image's probabilities from its label as one-hot: float64 [n] in [0, 2] (G. W. Brier, 1950)."""
    squares = np.square(probabilities).sum(axis=1, dtype=np.float64) / _totals(probabilities) ** 2
    return squares - 2 * _of_label(labels, probabilities) + 1


def _of_label(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The probability of each image's label, float64 [n]."""
    return probabilities[np.arange(len(labels)), labels] / _totals(probabilities)


def _totals(probabilities: np.ndarray) -> np.ndarray:
    """What each row adds up to: 1 only nearly, since probabilities are float32."""
    return probabilities.sum(axis=1, dtype=np.float64)


def in_top(labels: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    """Whether the label is among the `k` classes with the highest probabilities; the earlier class goes first where two are equal: bool [n]."""
    given = probabilities[np.arange(len(labels)), labels][:, np.newaxis]
    earlier = np.arange(probabilities.shape[1]) < labels[:, np.newaxis]
    return ((probabilities > given) | ((probabilities == given) & earlier)).sum(axis=1) < k


def recall_shares(labels: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Each image's share in balanced accuracy, the mean recall of the classes that occur: float64 [n], whose mean it is."""
    counts = np.bincount(labels)
    return hits * len(labels) / (np.count_nonzero(counts) * counts[labels])


def auc_influence(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Each image's share in the area under the ROC curve, one class against the rest, mean of the classes that occur: float64 [n].

    Their mean is the area itself; how they vary tells how it does, since they are its first-order expansion in the weights of the images,
    by placement values (E. R. DeLong et al., 1988). NaN where only one class occurs.
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    present = np.flatnonzero((counts > 0) & (counts < len(labels)))
    deviations, areas = np.zeros(len(labels)), []
    for each in present:
        positive = labels == each
        above, below = probabilities[positive, each], probabilities[~positive, each]
        # The share of the other side that an image is on the right side of; a tie is half right.
        placed = _rank(np.sort(below), above) / len(below)
        placed_rest = 1 - _rank(np.sort(above), below) / len(above)
        areas.append(placed.mean())
        deviations[positive] += (placed - areas[-1]) / len(above)
        deviations[~positive] += (placed_rest - areas[-1]) / len(below)
    if not areas:
        return np.full(len(labels), np.nan)
    return np.mean(areas) + deviations * len(labels) / len(areas)


def _rank(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How many of `ordered` lie below each value, ties counted as halves."""
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def class_aucs(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The area under each class's ROC curve against the rest: float64 [classes], NaN for classes that don't occur or are all there is."""
    areas = np.full(probabilities.shape[1], np.nan)
    for each in range(probabilities.shape[1]):
        positive = labels == each
        if 0 < positive.sum() < len(labels):
            below = np.sort(probabilities[~positive, each])
            areas[each] = _rank(below, probabilities[positive, each]).mean() / len(below)
    return areas
