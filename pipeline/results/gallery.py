"""The pictures worth looking at: the most confident mistakes, and the hits that were nearly none."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

_SIDE = 192


@dataclass(frozen=True)
class Shown:
    """A test picture as the gallery shows it."""

    path: str
    label: str
    prediction: str
    confidence: float
    """Probability of the predicted class."""
    label_probability: float
    picture: np.ndarray
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


def data_uri(picture: np.ndarray) -> str:
    """A picture as a JPEG inside an address, for pages that load nothing."""
    image = Image.fromarray(picture)
    if image.width > _SIDE:
        image = image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
