"""Metrics and tables of an evaluation, from which charts and reports are made."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_curve, precision_recall_fscore_support, roc_curve

from pipeline.config import PHASES, EvaluateConfig
from pipeline.evaluation.calibration import (
    calibration_error_by_chance,
    expected_calibration_error,
    quantiles,
    reliability,
)
from pipeline.evaluation.gradcam import heatmaps, map_cells
from pipeline.evaluation.intervals import estimates, wilson
from pipeline.evaluation.metrics import class_aucs, hits
from pipeline.evaluation.phase_result import PhaseResult, TestSet

_MAX_CURVES, _CURVE_POINTS = 8, 200


def summarise(labels: np.ndarray, probabilities: np.ndarray, evaluate: EvaluateConfig, seed: int) -> dict[str, float]:
    """Compute the main metrics of one model.

    Args:
        labels: Class indices, int [n].
        probabilities: Class probabilities, float [n, classes].
        evaluate: Settings; used are confidence, resamples, top_k and calibration_bins.
        seed: Seed of the bootstrap.

    Returns:
        Each metric of `pipeline.evaluation.intervals.estimates` as `name`, `name_low` and `name_high`; ece; its
        expected value for a calibrated model (ece_by_chance); and the number of images (images).
    """
    found = estimates(
        labels,
        probabilities,
        top_k=evaluate.top_k,
        resamples=evaluate.resamples,
        confidence=evaluate.confidence,
        seed=seed,
    )
    figures = {name: value for each, estimate in found.items() for name, value in estimate.named(each).items()}
    figures["ece"] = expected_calibration_error(labels, probabilities, evaluate.calibration_bins)
    figures["ece_by_chance"] = calibration_error_by_chance(probabilities, evaluate.calibration_bins)
    return figures | {"images": len(labels)}


def predictions_table(results: dict[str, PhaseResult], best: str, test: TestSet) -> pd.DataFrame:
    """Tabulate the predictions of all test images.

    Args:
        results: Result of each phase.
        best: Phase whose predictions are in the columns prediction and probabilities.
        test: Test images.

    Returns:
        One row per image, with the columns path, label, sha256, prediction, probabilities (in the order of the
        classes), and `<phase>_probabilities` for each phase.
    """
    return test.rows[["path", "label", "sha256"]].assign(
        prediction=np.asarray(test.classes)[results[best].predicted],
        probabilities=list(results[best].probabilities),
        **{f"{phase}_probabilities": list(results[phase].probabilities) for phase in PHASES},
    )


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str], confidence: float) -> pd.DataFrame:
    """Compute precision and recall of each class with Wilson intervals, F1, and the number of images (support).

    An undefined precision or recall is 0, with an interval from 0 to 1.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0
    )
    right = np.bincount(labels[labels == predicted], minlength=len(classes))
    table = pd.DataFrame({"class": classes})
    for name, value, count in (
        ("precision", precision, np.bincount(predicted, minlength=len(classes))),
        ("recall", recall, support),
    ):
        table[name] = value
        table[f"{name}_low"], table[f"{name}_high"] = wilson(right, count, confidence)
    return table.assign(f1=f1, support=support)


def per_class_table(results: dict[str, PhaseResult], test: TestSet, confidence: float) -> pd.DataFrame:
    """Return a table with one row per class and phase: the column phase, and the columns of `per_class`."""
    tables = {phase: per_class(test.labels, results[phase].predicted, test.classes, confidence) for phase in PHASES}
    return pd.concat(tables, names=["phase"]).reset_index("phase")


def confusion_table(results: dict[str, PhaseResult], test: TestSet) -> pd.DataFrame:
    """Return the nonzero cells of the confusion matrices, with the columns phase, true, predicted and count."""
    names, tables = np.asarray(test.classes, object), []
    for phase in PHASES:
        counts = confusion_matrix(test.labels, results[phase].predicted, labels=range(len(test.classes)))
        rows, columns = np.nonzero(counts)
        pairs = {"phase": phase, "true": names[rows], "predicted": names[columns], "count": counts[rows, columns]}
        tables.append(pd.DataFrame(pairs))
    return pd.concat(tables)


def predicted_classes_table(results: dict[str, PhaseResult], test: TestSet) -> pd.DataFrame:
    """Return the true class of each test image (column true), and the class that each phase predicts (its column)."""
    names = np.asarray(test.classes, object)
    return pd.DataFrame({"true": names[test.labels], **{phase: names[results[phase].predicted] for phase in PHASES}})


def reliability_table(result: PhaseResult, test: TestSet, evaluate: EvaluateConfig) -> pd.DataFrame:
    """Tabulate reliability before and after temperature scaling, in bins of about equally many images.

    Returns:
        The column temperature (before or after), and the columns of `pipeline.evaluation.calibration.reliability`.
    """
    tables = {
        name: reliability(
            test.labels, probabilities, quantiles(probabilities, evaluate.calibration_bins), evaluate.confidence
        )
        for name, probabilities in (("before", result.averaged.raw), ("after", result.averaged.scaled))
    }
    return pd.concat(tables, names=["temperature"]).reset_index("temperature")


def curves(labels: np.ndarray, probabilities: np.ndarray, each: int) -> pd.DataFrame:
    """Compute the one-vs-rest ROC and precision-recall curves of class `each`, reduced to 200 points.

    Returns:
        Table with the columns fpr, tpr, recall and precision. A row's ROC and precision-recall points have different
        thresholds.
    """
    positive, scores = labels == each, probabilities[:, each]
    fpr, tpr, _ = roc_curve(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores)
    columns = {"fpr": fpr, "tpr": tpr, "recall": recall, "precision": precision}
    return pd.DataFrame({name: _thinned(values) for name, values in columns.items()})


def curves_table(result: PhaseResult, test: TestSet) -> pd.DataFrame:
    """Return the curves of the (up to 8) classes with the lowest AUC: class, auc, and the columns of `curves`."""
    areas = class_aucs(test.labels, result.probabilities)
    known = {index: area for index, area in enumerate(areas) if not np.isnan(area)}
    # With two classes, the curve of the first one is the mirror image of the second one's.
    indices = [1] if len(test.classes) == 2 and known else sorted(known, key=known.__getitem__)[:_MAX_CURVES]
    tables = [
        curves(test.labels, result.probabilities, index).assign(**{"class": test.classes[index], "auc": known[index]})
        for index in indices
    ]
    columns = ["class", "auc", "fpr", "tpr", "recall", "precision"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def gallery(result: PhaseResult, test: TestSet, count: int) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Collect the images chosen by `gallery_indices`, with Grad-CAM heat maps of the predicted class.

    Returns:
        - Table with the columns kind (mistakes or hits), path, label, prediction, confidence and label_probability.
        - Arrays by name. images: network inputs in the order of the table, uint8 [n, h, w, 3]. heatmaps: heat
          maps, scaled to 0 to 255, uint8 [n, h, w]. cells: rows and columns of their feature maps, int [2].
    """
    probabilities = result.probabilities
    shape = test.images.shape
    images, maps = [np.empty((0, *shape), np.uint8)], [np.empty((0, *shape[:2]), np.uint8)]
    tables = []
    for kind, indices in gallery_indices(test.labels, probabilities, count).items():
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
            with result.model.parts.in_their_arithmetic():
                strength = heatmaps(result.model.network, images[-1], predicted, result.model.parts.feature_maps)
            maps.append((strength * 255).round().astype(np.uint8))
    arrays = {"images": np.concatenate(images), "heatmaps": np.concatenate(maps)}
    return pd.concat(tables, ignore_index=True), arrays | {"cells": np.array(map_cells(result.model.network))}


def gallery_indices(labels: np.ndarray, probabilities: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Choose the most confident mistakes and the least confident correct predictions (hits), up to `count` of each.

    Returns:
        Indices of the images, int [m] each, under the keys mistakes and hits.
    """
    is_hit, confidences = hits(labels, probabilities), probabilities.max(axis=1)
    right, wrong = np.flatnonzero(is_hit), np.flatnonzero(~is_hit)
    return {
        "mistakes": wrong[np.argsort(-confidences[wrong], kind="stable")[:count]],
        "hits": right[np.argsort(confidences[right], kind="stable")[:count]],
    }


def _thinned(values: np.ndarray) -> np.ndarray:
    return values[np.linspace(0, len(values) - 1, _CURVE_POINTS).round().astype(int)]
