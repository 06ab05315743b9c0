"""Tables of an evaluation, from which its charts and pages are drawn."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.config import PHASES, EvaluateConfig
from pipeline.evaluation.calibration import reliability
from pipeline.evaluation.gradcam import heatmaps
from pipeline.evaluation.metrics import confusion, curves, per_class
from pipeline.evaluation.per_image import class_aucs
from pipeline.evaluation.phase_result import PhaseResult, TestSet

_MOST_CURVES = 8


def predictions_table(results: dict[str, PhaseResult], best: str, test: TestSet) -> pd.DataFrame:
    """One row per test image: path, label, sha256, the best phase's prediction and probabilities (in class order), and each phase's."""
    probabilities = {phase: results[phase].probabilities for phase in PHASES}
    table = test.rows[["path", "label", "sha256"]].copy()
    table["prediction"] = np.asarray(test.classes)[probabilities[best].argmax(axis=1)]
    table["probabilities"] = list(probabilities[best])
    for phase in PHASES:
        table[f"{phase}_probabilities"] = list(probabilities[phase])
    return table


def per_class_table(results: dict[str, PhaseResult], test: TestSet, confidence: float) -> pd.DataFrame:
    """phase, and the columns of `pipeline.evaluation.metrics.per_class`; one row per class and phase."""
    tables = [
        per_class(test.labels, results[phase].predicted, test.classes, confidence).assign(phase=phase)
        for phase in PHASES
    ]
    return pd.concat(tables).set_index("phase").reset_index()


def confusion_table(results: dict[str, PhaseResult], test: TestSet) -> pd.DataFrame:
    """phase, true, predicted, count: the pairs that occur."""
    names, tables = np.asarray(test.classes, object), []
    for phase in PHASES:
        counts = confusion(test.labels, results[phase].predicted, test.classes)
        rows, columns = np.nonzero(counts)
        found = {"phase": phase, "true": names[rows], "predicted": names[columns], "count": counts[rows, columns]}
        tables.append(pd.DataFrame(found))
    return pd.concat(tables)


def reliability_table(result: PhaseResult, test: TestSet, evaluate: EvaluateConfig) -> pd.DataFrame:
    """temperature (before or after), and the columns of `pipeline.evaluation.calibration.reliability`."""
    tables = [
        reliability(test.labels, probabilities, evaluate.calibration_bins, evaluate.confidence).assign(temperature=name)
        for name, probabilities in (("before", result.averaged.raw), ("after", result.averaged.scaled))
    ]
    return pd.concat(tables).set_index("temperature").reset_index()


def curves_table(result: PhaseResult, test: TestSet) -> pd.DataFrame:
    """class, auc, and the columns of `pipeline.evaluation.metrics.curves`: of all classes, or those with the lowest areas."""
    areas = class_aucs(test.labels, result.probabilities)
    known = {place: area for place, area in enumerate(areas) if not np.isnan(area)}
    places = sorted(known, key=known.__getitem__)[:_MOST_CURVES]
    if len(test.classes) == 2 and known:
        # The first class's curve is the second's, turned round.
        places = [1]
    tables = [
        curves(test.labels, result.probabilities, place).assign(**{"class": test.classes[place], "auc": known[place]})
        for place in places
    ]
    columns = ["class", "auc", "fpr", "tpr", "recall", "precision"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class Gallery:
    """Images worth looking at, with heat maps of what was predicted."""

    table: pd.DataFrame
    """kind (mistakes or hits), path, label, prediction, confidence, label_probability."""
    images: np.ndarray
    """uint8 [n, size, size, 3], in the table's order, as the network sees them."""
    heatmaps: np.ndarray
    """uint8 [n, size, size]: how much each place speaks for the prediction."""


def gallery(result: PhaseResult, test: TestSet, count: int) -> Gallery:
    """The most confident mistakes and the least confident hits, up to `count` of each."""
    probabilities = result.probabilities
    chosen = {
        "mistakes": most_confident_mistakes(test.labels, probabilities, count),
        "hits": least_confident_hits(test.labels, probabilities, count),
    }
    size = test.images.size
    images, maps = [np.empty((0, size, size, 3), np.uint8)], [np.empty((0, size, size), np.uint8)]
    tables = []
    for kind, places in chosen.items():
        rows, predicted = test.rows.iloc[places], result.predicted[places]
        found = {
            "kind": kind,
            "path": rows["path"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "prediction": np.asarray(test.classes, object)[predicted],
            "confidence": probabilities[places, predicted].astype(float),
            "label_probability": probabilities[places, test.labels[places]].astype(float),
        }
        tables.append(pd.DataFrame(found))
        if len(places):
            images.append(test.images.take(places))
            with result.parts.in_their_arithmetic():
                strength = heatmaps(result.model, images[-1], predicted, result.parts.feature_maps)
            maps.append((strength * 255).round().astype(np.uint8))
    return Gallery(pd.concat(tables, ignore_index=True), np.concatenate(images), np.concatenate(maps))


def most_confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Places of up to `count` images that are predicted wrongly, the surest first: int [m]."""
    return _extreme(probabilities.argmax(axis=1) != labels, -probabilities.max(axis=1), count)


def least_confident_hits(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Places of up to `count` images that are predicted rightly, the least sure first: int [m]."""
    return _extreme(probabilities.argmax(axis=1) == labels, probabilities.max(axis=1), count)


def _extreme(chosen: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    places = np.flatnonzero(chosen)
    return places[np.argsort(key[places], kind="stable")[:count]]
