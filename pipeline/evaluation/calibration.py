"""Calibration of class probabilities: expected calibration error (ECE) and temperature scaling.

Source: C. Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from pipeline.evaluation.intervals import wilson
from pipeline.evaluation.metrics import brier_scores, hits, losses

_TINY = np.finfo(np.float32).tiny
_DRAWS = 200


def reliability(labels: np.ndarray, probabilities: np.ndarray, edges: np.ndarray, confidence: float) -> pd.DataFrame:
    """Compute accuracy by confidence, where confidence is the probability of the predicted class.

    Args:
        labels: Class indices, int [n].
        probabilities: Class probabilities, float [n, classes].
        edges: Ends of the bins, float [bins + 1], from `equal_widths` or `quantiles`.
        confidence: Confidence level of the intervals, in (0, 1).

    Returns:
        One row per bin, with the columns from, to, images, confidence (mean), accuracy, and accuracy_low and
        accuracy_high (ends of the Wilson interval). Values of empty bins are NaN.
    """
    confidences = probabilities.max(axis=1).astype(np.float64)
    bins, bin_numbers = len(edges) - 1, _bin_of(confidences, edges)
    images = np.bincount(bin_numbers, minlength=bins)
    right = np.bincount(bin_numbers, hits(labels, probabilities), minlength=bins)
    table = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "images": images})
    with np.errstate(invalid="ignore"):
        table["confidence"] = np.bincount(bin_numbers, confidences, minlength=bins) / images
        table["accuracy"] = right / images
    table["accuracy_low"], table["accuracy_high"] = wilson(right, images, confidence)
    table.loc[images == 0, ["accuracy_low", "accuracy_high"]] = np.nan
    return table


def equal_widths(bins: int) -> np.ndarray:
    """Return the ends of bins of equal width between 0 and 1, float [bins + 1]."""
    return np.arange(bins + 1) / bins


def quantiles(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """Return the ends of at most `bins` bins with about equally many images; equal confidences share a bin."""
    inner = np.quantile(probabilities.max(axis=1).astype(np.float64), equal_widths(bins)[1:-1], method="lower")
    return np.unique([0.0, *inner, 1.0])


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> float:
    """Compute the ECE, in [0, 1]: the mean absolute gap between confidence and accuracy, bins weighted by image count.

    Source: M. P. Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015.
    """
    table = reliability(labels, probabilities, equal_widths(bins), 0.95)
    gaps = (table["confidence"] - table["accuracy"]).abs() * table["images"]
    return float(gaps.sum() / table["images"].sum())


def calibration_error_by_chance(probabilities: np.ndarray, bins: int) -> float:
    """Estimate the ECE that a perfectly calibrated model would have on this number of images.

    The ECE is positive even then, because accuracy in a bin varies by chance. The estimate is the mean over 200 random
    samples, with a fixed seed, of which predictions are correct. An ECE up to this value does not indicate
    miscalibration.

    Args:
        probabilities: Class probabilities, float [n, classes].
        bins: Number of bins, as in `expected_calibration_error`.
    """
    confidences = np.sort(probabilities.max(axis=1).astype(np.float64))
    starts = np.unique(_bin_of(confidences, equal_widths(bins)), return_index=True)[1]
    generator, errors = np.random.default_rng(0), []
    for _ in range(_DRAWS):
        gaps = (generator.random(len(confidences)) < confidences) - confidences
        errors.append(np.abs(np.add.reduceat(gaps, starts)).sum() / len(confidences))
    return float(np.mean(errors))


def calibration_metrics(labels: np.ndarray, probabilities: np.ndarray, bins: int, when: str) -> dict[str, float]:
    """Return the metrics loss, brier, ece and ece_by_chance, with `_<when>` appended to each name."""
    figures = {
        "loss": losses(labels, probabilities).mean(),
        "brier": brier_scores(labels, probabilities).mean(),
        "ece": expected_calibration_error(labels, probabilities, bins),
        "ece_by_chance": calibration_error_by_chance(probabilities, bins),
    }
    return {f"{name}_{when}": float(value) for name, value in figures.items()}


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Fit the temperature, from 0.05 to 20, that maximizes the likelihood of the labels; 1 changes nothing.

    Labels are smoothed as by J. Platt (1999): each has the probability 1 - 1 / (n + 2), and the rest goes to the most
    probable other class. Otherwise, a few images without any error would give the lowest temperature.
    """
    logits, rows = _logits(probabilities), np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    doubt = 1 / (len(labels) + 2)
    targets = (1 - doubt) * logits[rows, labels] + doubt * others.max(axis=1)

    def mean_loss(exponent: float) -> float:
        sharpness = np.exp(-exponent)
        return float((logsumexp(logits * sharpness, axis=1) - targets * sharpness).mean())

    return float(np.exp(minimize_scalar(mean_loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities, float32 [n, classes], after division of their logits by a temperature."""
    return softmax(_logits(probabilities) / temperature, axis=1).astype(np.float32)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Return the logarithms of probabilities [n, classes], clipped below at float32's smallest normal number."""
    return np.log(np.maximum(probabilities.astype(np.float64), _TINY))


def _bin_of(confidences: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the index of the bin of each confidence; a bin includes its upper edge."""
    return np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, len(edges) - 2)
