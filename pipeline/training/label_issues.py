"""Training and validation images whose labels are least probable, by a model that was not trained on them."""

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
# Strong regularisation, so that a wrong label is not learned by heart.
_C = 1e-2
# Numbers that a fold's regression is trained on at most, 32 MiB: enough for a few directions among features.
_MAX_VALUES = 2**23
_CHUNK = 2_000


def find_label_issues(
    parts: Parts, data: TrainingData, rows: pd.DataFrame, seed: int, *, enabled: bool
) -> pd.DataFrame:
    """Rank the training and validation images by how probable their labels are, the least probable first.

    Args:
        parts: of phase 1.
        data: its images.
        rows: of the manifest, in the order of `data`.
        seed: of the folds.
        enabled: `train.label_issues`.

    Returns:
        `COLUMNS`, see `rank`; no rows where labels can't be checked.
    """
    reason = None
    if not enabled:
        reason = "train.label_issues is off"
    elif parts.frozen.empty:
        reason = "the backbone is not pretrained, so there are no features to check them by"
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
    """Predict each image by a logistic regression that is trained on images of other units.

    Args:
        features: returns those of the images at indices, int [b], as float32 [b, d], a copy. All at once would fill
            the memory.
        labels: class indices, int [n].
        units: id of what belongs together, [n]; never divided between training and prediction.
        seed: of the folds.

    Returns:
        class probabilities, float32 [n, classes]; NaN for the image of a class that has one only.
    """
    counts = np.bincount(labels)
    probabilities = np.full((len(labels), len(counts)), np.nan, np.float32)
    common = np.flatnonzero(counts[labels] > 1)
    folds = min(_FOLDS, int(counts.max()), len(np.unique(units[common])))
    ungrouped = len(np.unique(units)) == len(units)
    max_images = _MAX_VALUES // features(common[:1]).shape[1]
    splitter = (StratifiedKFold if ungrouped else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    divisions = splitter.split(common, labels[common], None if ungrouped else units[common])
    # A step's products are small: several threads wait for one another, and take three times as long at best.
    one_thread = threadpool_limits(1, "blas")
    with one_thread, warnings.catch_warnings(), progress("checking labels", folds, "folds") as advance:
        # A regression that has not quite converged ranks them as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The images of a class smaller than the number of folds are predicted from those that it has.
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
        # Fitted to all at once it takes twice their memory beside them.
        scaler.partial_fit(features(indices))
    model = LogisticRegression(C=_C, max_iter=100)
    return scaler, model.fit(scaler.transform(features(training)), labels[training])


def _chunks(indices: np.ndarray) -> list[np.ndarray]:
    return np.split(indices, range(_CHUNK, len(indices), _CHUNK))


def rank(rows: pd.DataFrame, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Return `COLUMNS`: the probability of each image's label, and of the most probable one; the least probable first.

    The score is self-confidence (C. Northcutt, L. Jiang, I. Chuang, Confident Learning, 2021).

    Args:
        rows: of the manifest, n.
        labels: class indices, int [n].
        probabilities: of classes, [n, classes], NaN where an image was not predicted.
        classes: their names.
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
