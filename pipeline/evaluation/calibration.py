"""Whether a probability means what it says, and the temperature that mends it (C. Guo et al., On Calibration of Modern Neural Networks, 2017)."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from pipeline.evaluation.intervals import wilson
from pipeline.evaluation.per_image import brier_scores, losses

_TINY = np.finfo(np.float32).tiny
_DRAWS = 200


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int, confidence: float) -> pd.DataFrame:
    """How often predictions of like confidence are right.

    Args:
        labels: class indices, int [n].
        probabilities: float [n, classes].
        bins: of equal width between 0 and 1, by the probability of the predicted class.
        confidence: of the intervals.

    Returns:
        a row for each bin: from, to, images, confidence (mean), accuracy with accuracy_low and accuracy_high (Wilson); NaN in empty bins.
    """
    sure, hits = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels
    place = _bin_of(sure, bins)
    images = np.bincount(place, minlength=bins)
    right = np.bincount(place, hits, minlength=bins)
    low, high = wilson(right, images, confidence)
    table = pd.DataFrame({"from": np.arange(bins) / bins, "to": np.arange(1, bins + 1) / bins, "images": images})
    with np.errstate(invalid="ignore"):
        table["confidence"] = np.bincount(place, sure, minlength=bins) / images
        table["accuracy"] = right / images
    table["accuracy_low"], table["accuracy_high"] = low, high
    table.loc[images == 0, ["accuracy_low", "accuracy_high"]] = np.nan
    return table


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> float:
    """ECE: the mean gap between confidence and accuracy, bins weighted by their images (M. P. Naeini et al., 2015); in [0, 1]."""
    table = reliability(labels, probabilities, bins, 0.95)
    gaps = (table["confidence"] - table["accuracy"]).abs() * table["images"]
    return float(gaps.sum() / table["images"].sum())


def calibration_error_by_chance(probabilities: np.ndarray, bins: int) -> float:
    """The ECE to expect of these very probabilities [n, classes] if each were exactly right: that of so few images, not of the model.

    The mean over seeded draws of which predictions are right. An ECE no larger tells of no fault.
    """
    sure = np.sort(probabilities.max(axis=1).astype(np.float64))
    starts = np.unique(_bin_of(sure, bins), return_index=True)[1]
    generator, found = np.random.default_rng(0), []
    for _ in range(_DRAWS):
        gaps = (generator.random(len(sure)) < sure) - sure
        found.append(np.abs(np.add.reduceat(gaps, starts)).sum() / len(sure))
    return float(np.mean(found))


def calibration_figures(labels: np.ndarray, probabilities: np.ndarray, bins: int, when: str) -> dict[str, float]:
    """loss, brier, ece and ece_by_chance, each with `_<when>` in its name."""
    figures = {
        "loss": losses(labels, probabilities).mean(),
        "brier": brier_scores(labels, probabilities).mean(),
        "ece": expected_calibration_error(labels, probabilities, bins),
        "ece_by_chance": calibration_error_by_chance(probabilities, bins),
    }
    return {f"{name}_{when}": float(value) for name, value in figures.items()}


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature, in 0.05 to 20, under which `labels` int [n] are most likely; 1 leaves probabilities as they are.

    A label counts as certain only but for one image in n + 2, given to the likeliest other class, as J. Platt (1999) does: few images
    without a mistake would otherwise ask for no doubt at all.
    """
    logits, rows = _logits(probabilities), np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    doubt = 1 / (len(labels) + 2)
    wanted = (1 - doubt) * logits[rows, labels] + doubt * others.max(axis=1)

    def mean_loss(exponent: float) -> float:
        sharpness = np.exp(-exponent)
        return float((logsumexp(logits * sharpness, axis=1) - wanted * sharpness).mean())

    return float(np.exp(minimize_scalar(mean_loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of the logits divided by `temperature`, from the probabilities [n, classes]: float32, the same class ahead."""
    return softmax(_logits(probabilities) / temperature, axis=1).astype(np.float32)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """What softmax makes the probabilities of, float64 [n, classes]; no probability counts as less than float32 can hold."""
    return np.log(np.maximum(probabilities.astype(np.float64), _TINY))


def _bin_of(sure: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each confidence; a bin holds its upper edge."""
    return np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
