"""Class probabilities whose truth is known."""

import numpy as np


def honest(count: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels that are drawn by the very probabilities."""
    generator = np.random.default_rng(seed)
    powers = np.exp(2 * generator.normal(size=(count, classes)))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > generator.random((count, 1))).argmax(axis=1)
    return labels, probabilities.astype(np.float32)
