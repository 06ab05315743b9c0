"""Doubts about labels: which training images a model that has not seen them finds least likely to be what they are said to be."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.config import Config
from pipeline.models.parts import Parts
from pipeline.storage.cache import Cache
from pipeline.system.terminal import progress
from pipeline.training.data import TrainingData
from pipeline.training.features import FeatureCache
from pipeline.visuals.thumbnails import Group, Thumbnail, write_thumbnails

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "split", "probability", "suggested", "suggested_probability"]
_FOLDS = 5
# Strong, so that a wrong label is not learned by heart.
_PENALTY = 1e-2
# Numbers that a fold's regression sees at the most, 32 MiB of them: a few directions among features are known well before.
_LEARNED_FROM = 2**23
_AT_ONCE = 2_000
_SHOWN = 120


def write_label_issues(
    parts: Parts, data: TrainingData, rows: pd.DataFrame, config: Config, cache: Cache, folder: Path, out: Path
) -> None:
    """Write label_issues.csv and label_issues.html to `out`: the training and validation images, the most doubtful first.

    Both are there, and say that nothing was looked at, where `train.label_issues` is off or the backbone is not pretrained.

    Args:
        parts: of phase 1.
        data: its images.
        rows: of the manifest, in the order of `data`.
        config: seed, and what may be kept.
        cache: where frozen work is kept.
        folder: that the paths of `rows` start from.
        out: where the files go.
    """
    reason = _nothing_to_look_at(parts, data, config, cache)
    if reason:
        log.info("Labels are not looked at: %s", reason)
        pd.DataFrame(columns=COLUMNS).to_csv(out / "label_issues.csv", index=False)
        write_thumbnails(out / "label_issues.html", "Doubtful labels", f"Labels were not looked at: {reason}.", [])
        return
    places = np.arange(len(data.images))
    inputs = FeatureCache(data.images, config, cache).kept(parts.frozen, places, 1, "frozen part")

    def features(chosen: np.ndarray) -> np.ndarray:
        return inputs.take(chosen, np.zeros(len(chosen), np.int64)).astype(np.float32, copy=False)

    units = rows["group"].where(rows["group"].notna(), rows["path"]).to_numpy()
    probabilities = out_of_sample(features, data.labels, units, config.seed)
    table = ranked(rows, data.labels, probabilities, data.classes)
    table.to_csv(out / "label_issues.csv", index=False)
    _write_page(table, folder, out / "label_issues.html")


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


def _nothing_to_look_at(parts: Parts, data: TrainingData, config: Config, cache: Cache) -> str | None:
    if not config.train.label_issues:
        return "train.label_issues is off"
    if parts.frozen.empty:
        return f"the backbone {config.backbone.name} is not pretrained, so there are no features to look at them by"
    if not FeatureCache(data.images, config, cache).fits_budget(parts.frozen, len(data.images)):
        return "the features are not kept, since they are larger than hardware.feature_cache_gib"
    return None


def _write_page(table: pd.DataFrame, folder: Path, file: Path) -> None:
    doubted = table[table["suggested"] != table["label"]].head(_SHOWN)
    cards = [
        Thumbnail(
            folder / row.path,
            f"{row.label} → {row.suggested}?",
            (f"said {row.probability:.1%}, suggested {row.suggested_probability:.1%}", f"{row.split}: {row.path}"),
        )
        for row in doubted.itertuples()
    ]
    doubts = int((table["suggested"] != table["label"]).sum())
    introduction = (
        f"{doubts} of {len(table)} training and validation images look more like another class to a model that has not seen them; the most doubtful first"
        f"{f', {_SHOWN} of them' if doubts > _SHOWN else ''}. label_issues.csv names all. A hard image is doubtful too: a person decides."
    )
    write_thumbnails(file, "Doubtful labels", introduction, [Group("", cards)] if cards else [])
