"""Detection of training and validation images with probably wrong labels, by cross-validation on features."""

import logging
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.models.parts import Parts
from pipeline.system.terminal import progress
from pipeline.training.features import TrainingData

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "split", "probability", "suggested", "suggested_probability"]
_FOLDS = 5
# Inverse regularisation strength; strong regularisation keeps the model from memorising wrong labels.
_C = 1e-2
# Largest number of feature values (images times features) that a fold's regression is trained on; 32 MiB of float32.
_MAX_VALUES = 2**23
# Multiply-adds of a fold's regression, about ten seconds on a core. With hundreds of classes its steps are fewer: the
# first ones already rank the labels.
_MAX_OPERATIONS = 2e11
_MIN_STEPS, _MAX_STEPS = 10, 100
_CHUNK = 2_000


def find_label_issues(
    parts: Parts, data: TrainingData, rows: pd.DataFrame, seed: int, *, enabled: bool
) -> pd.DataFrame:
    """Rank training and validation images by the predicted probability of their labels, lowest first.

    Args:
        parts: Parts of the classifier in feature extraction.
        data: Training and validation images.
        rows: Rows of the manifest, in the order of `data`.
        seed: Random seed of the folds.
        enabled: Setting `train.label_issues`.

    Returns:
        Table with the columns `COLUMNS`, see `rank`; empty if labels can't be checked.
    """
    reason = None
    if not enabled:
        reason = "train.label_issues is off"
    elif parts.frozen.empty:
        reason = "the backbone is not pretrained, so there are no features to check labels with"
    elif not data.features.fits(parts.frozen, len(data.images)):
        reason = "the features are not cached, since they are larger than hardware.feature_cache_gib"
    if reason:
        log.info("Label check skipped: %s", reason)
        return pd.DataFrame(columns=COLUMNS)
    inputs = data.features.load(parts.frozen, np.arange(len(data.images)))

    def features(indices: np.ndarray) -> np.ndarray:
        return inputs.take(indices, np.zeros(len(indices), np.int64)).astype(np.float32, copy=False)

    units = rows["group"].where(rows["group"].notna(), rows["path"]).to_numpy()
    return rank(rows, data.labels, cross_validate(features, data.labels, units, seed), data.classes)


def cross_validate(
    features: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, units: np.ndarray, seed: int
) -> np.ndarray:
    """Predict the class of each image by a logistic regression that is trained on images of other units.

    Args:
        features: Function that returns the features of the images at indices, int [b], as a new array, float32 [b, d].
            All features at once may exceed the memory.
        labels: Class index of each image, int [n].
        units: Id of each image's unit, [n]. Images of a unit are never divided between training and prediction.
        seed: Random seed of the folds.

    Returns:
        Class probabilities, float32 [n, classes]; NaN for the only image of a class.
    """
    counts = np.bincount(labels)
    probabilities = np.full((len(labels), len(counts)), np.nan, np.float32)
    common = np.flatnonzero(counts[labels] > 1)
    folds = min(_FOLDS, int(counts.max()), len(np.unique(units[common])))
    ungrouped = len(np.unique(units)) == len(units)
    max_images = _MAX_VALUES // features(common[:1]).shape[1]
    splitter = (StratifiedKFold if ungrouped else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    divisions = splitter.split(common, labels[common], None if ungrouped else units[common])
    # The matrices are small, so that several threads would wait for each other, and take at least three times as long.
    one_thread = threadpool_limits(1, "blas")
    with one_thread, warnings.catch_warnings(), progress("checking labels", folds, "folds") as advance:
        # A regression that has not fully converged ranks images equally well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # A class with fewer images than folds is missing in some held-out folds, which does no harm.
        warnings.filterwarnings("ignore", "The least populated class")
        for others, held_out in divisions:
            training = np.random.default_rng(seed).permutation(common[others])[:max_images]
            if len(np.unique(labels[training])) > 1:
                scaler, model = _fit_fold(features, labels, training)
                for indices in _chunks(common[held_out]):
                    probabilities[indices] = 0
                    predicted = model.predict_proba(scaler.transform(features(indices)))
                    probabilities[np.ix_(indices, model.classes_)] = predicted
            advance()
    return probabilities


def _fit_fold(
    features: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, training: np.ndarray
) -> tuple[StandardScaler, LogisticRegression]:
    scaler = StandardScaler(copy=False)
    for indices in _chunks(training):
        # Fitting to all features at once would need twice their memory in addition.
        scaler.partial_fit(features(indices))
    values = scaler.transform(features(training))
    # A step multiplies the features by the weights of all classes, for the loss and for its gradient.
    steps = _MAX_OPERATIONS / (2 * values.size * len(np.unique(labels[training])))
    model = LogisticRegression(C=_C, max_iter=int(np.clip(steps, _MIN_STEPS, _MAX_STEPS)))
    return scaler, model.fit(values, labels[training])


def _chunks(indices: np.ndarray) -> list[np.ndarray]:
    return np.split(indices, range(_CHUNK, len(indices), _CHUNK))


def rank(rows: pd.DataFrame, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Rank images by the predicted probability of their labels, lowest first.

    The score is self-confidence (C. Northcutt, L. Jiang, I. Chuang, Confident Learning, 2021).

    Args:
        rows: Rows of the manifest for the n images.
        labels: Class index of each image, int [n].
        probabilities: Class probabilities, [n, classes]; NaN for an image without a prediction.
        classes: Class names.

    Returns:
        Table with the columns `COLUMNS`, which has the probability of each image's label, and the most probable class
        with its probability.
    """
    predicted = np.isfinite(probabilities).all(axis=1)
    filled = np.where(np.isnan(probabilities), 0, probabilities)
    suggested = np.where(predicted, filled.argmax(axis=1), labels)
    table = rows[["path", "label", "split"]].assign(
        probability=probabilities[np.arange(len(labels)), labels].astype(np.float64),
        suggested=np.asarray(classes)[suggested],
        suggested_probability=np.where(predicted, filled.max(axis=1), np.nan),
    )
    return table.sort_values("probability", kind="stable", ignore_index=True).round(6)
