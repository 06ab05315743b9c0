"""Doubts about labels: which training images a model that has not seen them finds least likely to be what they are said to be."""

import logging
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.models.parts import Parts
from pipeline.system.terminal import progress
from pipeline.training.data import TrainingData

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "split", "probability", "suggested", "suggested_probability"]
_FOLDS = 5
# Strong, so that a wrong label is not learned by heart.
_PENALTY = 1e-2
# Numbers that a fold's regression sees at the most, 32 MiB of them: a few directions among features are known well before.
_LEARNED_FROM = 2**23
_AT_ONCE = 2_000


def find_label_issues(parts: Parts, data: TrainingData, rows: pd.DataFrame, seed: int, *, wanted: bool) -> pd.DataFrame:
    """The training and validation images, the most doubtful label first; no rows where labels can't be checked.

    Args:
        parts: of phase 1.
        data: its images.
        rows: of the manifest, in the order of `data`.
        seed: of the folds.
        wanted: `train.label_issues`.

    Returns:
        `COLUMNS`, see `ranked`.
    """
    reason = None if wanted else "train.label_issues is off"
    if wanted and parts.frozen.empty:
        reason = "the backbone is not pretrained, so there are no features to check them by"
    elif wanted and not data.features.fits(parts.frozen, len(data.images)):
        reason = "the features are not cached, since they are larger than hardware.feature_cache_gib"
    if reason:
        log.info("Label check skipped: %s", reason)
        return pd.DataFrame(columns=COLUMNS)
    inputs = data.features.features(parts.frozen, np.arange(len(data.images)), 1, "frozen part")

    def features(chosen: np.ndarray) -> np.ndarray:
        return inputs.take(chosen, np.zeros(len(chosen), np.int64)).astype(np.float32, copy=False)

    units = rows["group"].where(rows["group"].notna(), rows["path"]).to_numpy()
    probabilities = out_of_sample(features, data.labels, units, seed)
    return ranked(rows, data.labels, probabilities, data.classes)


def out_of_sample(
    features: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, units: np.ndarray, seed: int
) -> np.ndarray:
    """Class probabilities of each image by a logistic regression on other images, none of them of its unit.

    Args:
        features: gives those of the images at places, int [b], as float [b, d] of their own; asked for a part at a time, since all would
            fill the memory.
        labels: class indices, int [n].
        units: what is the same or belongs together, [n].
        seed: of the folds.

    Returns:
        float32 [n, classes]; NaN for images of classes that have but one.
    """
    count = np.bincount(labels)
    probabilities = np.full((len(labels), len(count)), np.nan, np.float32)
    common = np.flatnonzero(count[labels] > 1)
    folds = min(_FOLDS, int(count.max()), len(np.unique(units[common])))
    alone = len(np.unique(units)) == len(units)
    most = _LEARNED_FROM // features(common[:1]).shape[1]
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    divisions = splitter.split(common, labels[common], None if alone else units[common])
    # Several threads spend their time waiting for one another: a step's products are small. Thrice as slow, and tens of times beside other work.
    one_thread = threadpool_limits(1, "blas")
    with one_thread, warnings.catch_warnings(), progress("looking at labels", folds, "folds") as advance:
        # A regression that has not quite settled ranks them as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Its images are judged by those of its others that there are.
        warnings.filterwarnings("ignore", "The least populated class")
        for others, held_out in divisions:
            seen = np.random.default_rng(seed).permutation(common[others])[:most]
            if len(np.unique(labels[seen])) > 1:
                scaler = StandardScaler(copy=False)
                for places in _parts(seen):
                    # Fitted to all at once it takes twice their memory beside them.
                    scaler.partial_fit(features(places))
                model = LogisticRegression(C=_PENALTY, max_iter=100)
                model.fit(scaler.transform(features(seen)), labels[seen])
                for places in _parts(common[held_out]):
                    found = np.zeros((len(places), len(count)), np.float32)
                    found[:, model.classes_] = model.predict_proba(scaler.transform(features(places)))
                    probabilities[places] = found
            advance()
    return probabilities


def _parts(places: np.ndarray) -> list[np.ndarray]:
    return np.split(places, range(_AT_ONCE, len(places), _AT_ONCE))


def ranked(rows: pd.DataFrame, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """COLUMNS: how probable each image's label is, and which one is most probable; the least probable first.

    The score is cleanlab's self-confidence (C. Northcutt, L. Jiang, I. Chuang, Confident Learning, 2021).
    """
    looked_at = np.isfinite(probabilities).all(axis=1)
    believed = np.full(len(labels), np.nan)
    believed[looked_at] = get_label_quality_scores(
        labels[looked_at], probabilities[looked_at], method="self_confidence"
    )
    filled = np.where(np.isnan(probabilities), 0, probabilities)
    suggested = np.where(looked_at, filled.argmax(axis=1), labels)
    table = rows[["path", "label", "split"]].assign(
        probability=believed,
        suggested=np.asarray(classes)[suggested],
        suggested_probability=np.where(looked_at, filled.max(axis=1), np.nan),
    )
    return table.sort_values("probability", kind="stable", ignore_index=True).round(6)
