"""Tables of an evaluation, from which charts and pages are drawn."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.config import PHASES, EvaluateConfig
from pipeline.evaluation.calibration import reliability
from pipeline.evaluation.gradcam import heatmaps
from pipeline.evaluation.metrics import class_aucs, hits
from pipeline.evaluation.phase_result import PhaseResult, TestSet
from pipeline.evaluation.summary import confusion, curves, per_class

_MAX_CURVES = 8


def predictions_table(results: dict[str, PhaseResult], best: str, test: TestSet) -> pd.DataFrame:
    """One row per test image: path, label, sha256, prediction, and probabilities in the order of the classes.

    Args:
        results: of each phase.
        best: the phase whose prediction and probabilities are not prefixed.
        test: the test images.
    """
    probabilities = {phase: results[phase].probabilities for phase in PHASES}
    table = test.rows[["path", "label", "sha256"]].copy()
    table["prediction"] = np.asarray(test.classes)[probabilities[best].argmax(axis=1)]
    table["probabilities"] = list(probabilities[best])
    for phase in PHASES:
        table[f"{phase}_probabilities"] = list(probabilities[phase])
    return table


def per_class_table(results: dict[str, PhaseResult], test: TestSet, confidence: float) -> pd.DataFrame:
    """One row per class and phase: phase, and the columns of `pipeline.evaluation.summary.per_class`."""
    tables = [
        per_class(test.labels, results[phase].predicted, test.classes, confidence).assign(phase=phase)
        for phase in PHASES
    ]
    return pd.concat(tables).set_index("phase").reset_index()


def confusion_table(results: dict[str, PhaseResult], test: TestSet) -> pd.DataFrame:
    """One row per phase and pair of classes that occurs: phase, true, predicted, count."""
    names, tables = np.asarray(test.classes, object), []
    for phase in PHASES:
        counts = confusion(test.labels, results[phase].predicted, test.classes)
        rows, columns = np.nonzero(counts)
        pairs = {"phase": phase, "true": names[rows], "predicted": names[columns], "count": counts[rows, columns]}
        tables.append(pd.DataFrame(pairs))
    return pd.concat(tables)


def reliability_table(result: PhaseResult, test: TestSet, evaluate: EvaluateConfig) -> pd.DataFrame:
    """Column temperature (before or after), and those of `pipeline.evaluation.calibration.reliability`."""
    tables = [
        reliability(test.labels, probabilities, evaluate.calibration_bins, evaluate.confidence).assign(temperature=name)
        for name, probabilities in (("before", result.averaged.raw), ("after", result.averaged.scaled))
    ]
    return pd.concat(tables).set_index("temperature").reset_index()


def curves_table(result: PhaseResult, test: TestSet) -> pd.DataFrame:
    """Class, auc, and columns of `pipeline.evaluation.summary.curves`, of the classes with the smallest areas."""
    areas = class_aucs(test.labels, result.probabilities)
    known = {index: area for index, area in enumerate(areas) if not np.isnan(area)}
    indices = sorted(known, key=known.__getitem__)[:_MAX_CURVES]
    if len(test.classes) == 2 and known:
        # The first class's curve is that of the second, mirrored.
        indices = [1]
    tables = [
        curves(test.labels, result.probabilities, index).assign(**{"class": test.classes[index], "auc": known[index]})
        for index in indices
    ]
    columns = ["class", "auc", "fpr", "tpr", "recall", "precision"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class Gallery:
    """Test images worth checking, with heat maps of the predicted class."""

    table: pd.DataFrame
    """Columns kind (mistakes or hits), path, label, prediction, confidence, label_probability."""
    images: np.ndarray
    """uint8 [n, size, size, 3], in the table's order, as the network sees them."""
    heatmaps: np.ndarray
    """uint8 [n, size, size]: how much each place counts for the prediction."""


def gallery(result: PhaseResult, test: TestSet, count: int) -> Gallery:
    """Choose the most confident mistakes and the least confident hits, up to `count` of each."""
    probabilities = result.probabilities
    chosen = {
        "mistakes": most_confident_mistakes(test.labels, probabilities, count),
        "hits": least_confident_hits(test.labels, probabilities, count),
    }
    size = test.images.size
    images, maps = [np.empty((0, size, size, 3), np.uint8)], [np.empty((0, size, size), np.uint8)]
    tables = []
    for kind, indices in chosen.items():
        rows, predicted = test.rows.iloc[indices], result.predicted[indices]
        columns = {
            "kind": kind,
            "path": rows["path"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "prediction": np.asarray(test.classes, object)[predicted],
            "confidence": probabilities[indices, predicted].astype(float),
            "label_probability": probabilities[indices, test.labels[indices]].astype(float),
        }
        tables.append(pd.DataFrame(columns))
        if len(indices):
            images.append(test.images.take(indices))
            with result.parts.in_their_arithmetic():
                strength = heatmaps(result.model, images[-1], predicted, result.parts.feature_maps)
            maps.append((strength * 255).round().astype(np.uint8))
    return Gallery(pd.concat(tables, ignore_index=True), np.concatenate(images), np.concatenate(maps))


def most_confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` images that are predicted wrongly, the most confident ones first: int [m]."""
    return _smallest(~hits(labels, probabilities), -probabilities.max(axis=1), count)


def least_confident_hits(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` images that are predicted rightly, the least confident ones first: int [m]."""
    return _smallest(hits(labels, probabilities), probabilities.max(axis=1), count)


def _smallest(chosen: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    indices = np.flatnonzero(chosen)
    return indices[np.argsort(key[indices], kind="stable")[:count]]
