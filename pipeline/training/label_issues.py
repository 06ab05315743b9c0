"""Detection of training and validation images with probably wrong labels, by cross-validation on features."""

import logging

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from pipeline.models.parts import Parts
from pipeline.system.terminal import progress
from pipeline.training.cross_validation import (
    Features,
    chunks,
    fitted_scaler,
    fitting,
    fold_numbers,
    regression_steps,
    training_sample,
    unit_ids,
)
from pipeline.training.features import TrainingData

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "split", "probability", "suggested", "suggested_probability"]
_FOLDS = 5
# Inverse regularisation strength; strong regularisation keeps the model from memorising wrong labels.
_C = 1e-2


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
    features = data.features.pooled(parts.frozen)
    probabilities = cross_validate(features, data.labels, unit_ids(rows), seed)
    return rank(rows, data.labels, probabilities, data.classes)


def cross_validate(features: Features, labels: np.ndarray, units: np.ndarray, seed: int) -> np.ndarray:
    """Predict the class of each image by a logistic regression that is trained on images of other units.

    Args:
        features: Features of the images; all of them at once may exceed the memory.
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
    width, numbers = features(common[:1]).shape[1], fold_numbers(labels[common], units[common], folds, seed)
    with fitting(), progress("checking labels", folds, "folds") as advance:
        for number in range(folds):
            training = training_sample(common[numbers != number], width, seed)
            if len(np.unique(labels[training])) > 1:
                scaler = fitted_scaler(features, training)
                values = scaler.transform(features(training))
                model = LogisticRegression(C=_C, max_iter=regression_steps(values, labels[training]))
                model.fit(values, labels[training])
                for indices in chunks(common[numbers == number]):
                    probabilities[indices] = 0
                    predicted = model.predict_proba(scaler.transform(features(indices)))
                    probabilities[np.ix_(indices, model.classes_)] = predicted
            advance()
    return probabilities


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
