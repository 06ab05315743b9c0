"""Metrics of predictions: pure functions of labels and probabilities."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_curve, precision_recall_fscore_support, roc_curve

from pipeline.config import EvaluateConfig
from pipeline.evaluation.calibration import calibration_error_by_chance, expected_calibration_error
from pipeline.evaluation.intervals import estimates, wilson

_CURVE_POINTS = 200


def summarise(labels: np.ndarray, probabilities: np.ndarray, evaluate: EvaluateConfig, seed: int) -> dict[str, Any]:
    """The headline metrics of one model.

    Args:
        labels: class indices, int [n].
        probabilities: float [n, classes].
        evaluate: confidence and resamples of the intervals, top_k, bins of the calibration error.
        seed: of the resamples.

    Returns:
        the figures of `pipeline.evaluation.intervals.estimates`, each as `name`, `name_low` and `name_high`; ece, which has no interval, since
        resampling inflates it, but ece_by_chance beside it, what it would be of a faultless model; and the number of images.
    """
    found = estimates(labels, probabilities, evaluate.top_k, evaluate.resamples, evaluate.confidence, seed)
    figures = {name: value for each, estimate in found.items() for name, value in estimate.named(each).items()}
    figures["ece"] = expected_calibration_error(labels, probabilities, evaluate.calibration_bins)
    figures["ece_by_chance"] = calibration_error_by_chance(probabilities, evaluate.calibration_bins)
    return figures | {"images": len(labels)}


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str], confidence: float) -> pd.DataFrame:
    """Precision and recall of each class with their Wilson intervals, F1, and how many images it has (support).

    0 where a class was never predicted, or has no image, with an interval from 0 to 1.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0
    )
    hits = np.bincount(labels[labels == predicted], minlength=len(classes))
    table = pd.DataFrame({"class": classes})
    for name, value, count in (
        ("precision", precision, np.bincount(predicted, minlength=len(classes))),
        ("recall", recall, support),
    ):
        table[name] = value
        table[f"{name}_low"], table[f"{name}_high"] = wilson(hits, count, confidence)
    return table.assign(f1=f1, support=support)


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> np.ndarray:
    """Counts int [classes, classes]: a row for each true class, a column for each predicted one."""
    return confusion_matrix(labels, predicted, labels=range(len(classes)))


def curves(labels: np.ndarray, probabilities: np.ndarray, each: int) -> pd.DataFrame:
    """One class against the rest, by falling threshold, thinned to what a chart shows: fpr, tpr, recall, precision (linear in between)."""
    positive, scores = labels == each, probabilities[:, each]
    fpr, tpr, _ = roc_curve(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores)
    return pd.DataFrame(
        {"fpr": _thinned(fpr), "tpr": _thinned(tpr), "recall": _thinned(recall), "precision": _thinned(precision)}
    )


def _thinned(values: np.ndarray) -> np.ndarray:
    return values[np.linspace(0, len(values) - 1, _CURVE_POINTS).round().astype(int)]


def prior_adjusted_accuracy(labels: np.ndarray, predicted: np.ndarray, training: np.ndarray) -> float:
    """The accuracy that these predictions would have if the classes were mixed as in training: recalls, weighted by the training shares.

    Args:
        labels: class indices of the test images, int [n].
        predicted: what was predicted, int [n].
        training: class indices of the training images, int [m]; classes without a test image count for nothing.
    """
    size = int(max(labels.max(), training.max())) + 1
    occurring = np.bincount(labels, minlength=size)
    right = np.bincount(labels[predicted == labels], minlength=size)
    shares = np.bincount(training, minlength=size) * (occurring > 0)
    return float((right / np.maximum(occurring, 1) * shares).sum() / shares.sum())
