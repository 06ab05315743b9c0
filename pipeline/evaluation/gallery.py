"""Images worth looking at: the most confident mistakes and the least confident hits."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GalleryImage:
    """A test image as the gallery shows it."""

    path: str
    label: str
    prediction: str
    confidence: float
    """Probability of the predicted class."""
    label_probability: float
    image: np.ndarray
    """uint8 [size, size, 3], as the network sees it."""
    overlay: np.ndarray
    """The same with Grad-CAM's heat map of the predicted class."""


def most_confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Places of up to `count` images that are predicted wrongly, the surest first: int [m]."""
    return _extreme(probabilities.argmax(axis=1) != labels, -probabilities.max(axis=1), count)


def least_confident_hits(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Places of up to `count` images that are predicted rightly, the least sure first: int [m]."""
    return _extreme(probabilities.argmax(axis=1) == labels, probabilities.max(axis=1), count)


def _extreme(chosen: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    places = np.flatnonzero(chosen)
    return places[np.argsort(key[places], kind="stable")[:count]]
