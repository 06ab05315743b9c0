"""Vectors of the test images, from which the report draws a map."""

import numpy as np
from sklearn.decomposition import PCA

from pipeline.evaluation.phase_result import PhaseResult, TestSet
from pipeline.inputs.batches import ImageInputs
from pipeline.models.classifier import POOLING
from pipeline.models.parts import Parts
from pipeline.training.features import FeatureCache

_COMPONENTS = 50
_BATCH = 64


def image_vectors(result: PhaseResult, test: TestSet, count: int, seed: int) -> dict[str, np.ndarray]:
    """Return the features that a phase's head classifies, reduced to their principal components.

    Args:
        result: Result of the phase.
        test: Test images.
        count: Largest number of images; of more, a random sample is taken.
        seed: Seed of the sample.

    Returns:
        Arrays by name. indices: test images in ascending order, int64 [m]. predicted: their predicted class indices,
        int64 [m]. vectors: float32 [m, d], with d of at most 50.
    """
    draws = np.random.default_rng([seed, count])
    indices = np.sort(draws.permutation(len(test.rows))[:count])
    vectors = np.empty((len(indices), 0), np.float32)
    if len(indices) > 1:
        with result.model.parts.in_their_arithmetic():
            features = _pooled(result.model.parts, test.features, indices)
        vectors = PCA(min(_COMPONENTS, *features.shape), svd_solver="full").fit_transform(features)
    return {"indices": indices, "predicted": result.predicted[indices], "vectors": vectors}


def _pooled(parts: Parts, features: FeatureCache, indices: np.ndarray) -> np.ndarray:
    """Return the pooled features of images, float32 [m, c]."""
    cached = features.fits(parts.frozen, len(features.images))
    inputs = features.load(parts.frozen, indices) if cached else ImageInputs(features.images, indices, [None])
    rows = []
    # The layers are called one by one: tracing them for so few images would take longer.
    for chunk in np.split(np.arange(len(indices)), range(_BATCH, len(indices), _BATCH)):
        x = inputs.take(chunk, np.zeros(len(chunk), np.int64))
        if not cached:
            x = parts.frozen.from_pixels(x)
        if parts.upper is not None:
            x = parts.trainable.get_layer(POOLING)(parts.upper(x, training=False))
        rows.append(np.asarray(x, np.float32))
    return np.concatenate(rows)
