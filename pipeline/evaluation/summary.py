"""Figures and tables of one model's predictions: headline, by class, and by threshold."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_curve, precision_recall_fscore_support, roc_curve

from pipeline.config import EvaluateConfig
from pipeline.evaluation.calibration import calibration_error_by_chance, expected_calibration_error
from pipeline.evaluation.intervals import estimates, wilson

_CURVE_POINTS = 200


def summarise(
    labels: np.ndarray, probabilities: np.ndarray, evaluate: EvaluateConfig, seed: int
) -> dict[str, float | int]:
    """Headline figures of one model.

    Args:
        labels: class indices, int [n].
        probabilities: float [n, classes].
        evaluate: confidence and resamples of the intervals, top_k, bins of the calibration error.
        seed: of the resamples.

    Returns:
        Each metric of `pipeline.evaluation.intervals.estimates` as `name`, `name_low` and `name_high`; ece, and
        ece_by_chance of a faultless model; and the number of images.
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


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str], confidence: float) -> pd.DataFrame:
    """Precision and recall of each class with Wilson intervals, F1, and its number of images (support).

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
    """ROC and precision-recall curve of class `each` against the rest, thinned to as many points as a chart shows.

    Returns:
        fpr, tpr, recall and precision, by falling threshold; linear in between.
    """
    positive, scores = labels == each, probabilities[:, each]
    fpr, tpr, _ = roc_curve(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores)
    return pd.DataFrame(
        {"fpr": _thinned(fpr), "tpr": _thinned(tpr), "recall": _thinned(recall), "precision": _thinned(precision)}
    )


def _thinned(values: np.ndarray) -> np.ndarray:
    return values[np.linspace(0, len(values) - 1, _CURVE_POINTS).round().astype(int)]
