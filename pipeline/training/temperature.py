"""Temperature scaling of class probabilities.

Source: C. Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

_TINY = np.finfo(np.float32).tiny


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
