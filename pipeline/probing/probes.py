"""Out-of-fold predictions from features: by a linear probe, and by the nearest neighbours."""

from collections.abc import Iterator

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from pipeline.system.terminal import progress
from pipeline.training.cross_validation import (
    Features,
    chunks,
    fitted_scaler,
    fitting,
    regressions,
    training_sample,
)

# Inverse strengths of the L2 penalty, the strongest penalty first.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_NEIGHBOURS = 5


def linear_probe(features: Features, labels: np.ndarray, folds: np.ndarray, seed: int) -> np.ndarray:
    """Predict each image by a multinomial logistic regression that is trained on the other folds.

    This is the kind of head that phase 1 trains. Features are standardised, and the penalty of each fold is the one
    with the best accuracy in a cross-validation within its training images: two other folds are predicted in turn.

    Args:
        features: Features of the n images.
        labels: Class index of each image, int [n].
        folds: Number of each image's fold, int [n], from `pipeline.training.cross_validation.make_folds`.
        seed: Seed of the sample that is trained on if there are very many images.

    Returns:
        Predicted class indices, int64 [n].
    """
    count = int(folds.max()) + 1
    hits, predicted = np.zeros((count, len(_STRENGTHS))), np.empty(len(labels), np.int64)
    with fitting(), progress("fitting", 2 * count, "regressions") as advance:
        # Neither fold of a pair is trained on, so that each one serves for the choice of the other one's penalty.
        for fold in range(count):
            pair = (fold, (fold + 1) % count)
            training = np.flatnonzero(~np.isin(folds, pair))
            for place, (scaler, model) in enumerate(_regressions(features, labels, training, seed)):
                for own, other in (pair, pair[::-1]):
                    members = np.flatnonzero(folds == other)
                    hits[own, place] += (_predict(features, scaler, model, members) == labels[members]).sum()
            advance()
        for fold in range(count):
            members, training = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            # Of equally good penalties, the strongest.
            strengths = _STRENGTHS[: int(hits[fold].argmax()) + 1]
            *_, (scaler, model) = _regressions(features, labels, training, seed, strengths)
            predicted[members] = _predict(features, scaler, model, members)
            advance()
    return predicted


def _regressions(
    features: Features,
    labels: np.ndarray,
    training: np.ndarray,
    seed: int,
    strengths: tuple[float, ...] = _STRENGTHS,
) -> Iterator[tuple[StandardScaler, ClassifierMixin]]:
    """Yield the regression of each strength, which changes when the next one is yielded."""
    sample = training_sample(training, features(training[:1]).shape[1], seed)
    scaler = fitted_scaler(features, sample)
    scaled = scaler.transform(features(sample))
    yield from ((scaler, model) for model in regressions(scaled, labels[sample], strengths))


def _predict(features: Features, scaler: StandardScaler, model: ClassifierMixin, indices: np.ndarray) -> np.ndarray:
    return np.concatenate([model.predict(scaler.transform(features(chunk))) for chunk in chunks(indices)])


def nearest_neighbours(features: Features, labels: np.ndarray, folds: np.ndarray, seed: int) -> np.ndarray:
    """Predict each image by the five nearest images of other folds, by cosine similarity, each with its similarity.

    It fits nothing, and so is a second opinion on the linear probe.

    Args:
        features: Features of the n images.
        labels: Class index of each image, int [n].
        folds: Number of each image's fold, int [n], from `pipeline.training.cross_validation.make_folds`.
        seed: Seed of the sample that is searched if there are very many images.

    Returns:
        Predicted class indices, int64 [n].
    """
    predicted = np.empty(len(labels), np.int64)
    width = features(np.arange(1)).shape[1]
    for fold in range(int(folds.max()) + 1):
        sample = training_sample(np.flatnonzero(folds != fold), width, seed)
        nearest = KNeighborsClassifier(min(_NEIGHBOURS, len(sample)), metric="cosine", weights="distance")
        nearest.fit(features(sample), labels[sample])
        for chunk in chunks(np.flatnonzero(folds == fold)):
            predicted[chunk] = nearest.predict(features(chunk))
    return predicted
