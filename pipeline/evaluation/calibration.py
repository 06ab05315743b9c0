"""Calibration of class probabilities: reliability, and the expected calibration error (ECE)."""

import numpy as np
import pandas as pd

from pipeline.evaluation.intervals import wilson
from pipeline.evaluation.metrics import brier_scores, hits, losses

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


def _bin_of(confidences: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the index of the bin of each confidence; a bin includes its upper edge."""
    return np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, len(edges) - 2)
