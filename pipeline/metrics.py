"""How good predictions are: pure functions of labels and probabilities."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support
from statsmodels.stats.proportion import proportion_confint


def summarise(labels: np.ndarray, probabilities: np.ndarray, confidence: float) -> dict[str, float]:
    """The headline metrics of one model.

    Args:
        labels: class indices, int [n].
        probabilities: float [n, classes].
        confidence: of the interval, in (0, 1).

    Returns:
        loss (mean negative log likelihood, in nats), accuracy with its Wilson interval (E. B. Wilson, 1927), macro F1 over the classes
        that occur in labels or predictions, and the number of images.
    """
    predicted = probabilities.argmax(axis=1)
    low, high = proportion_confint((predicted == labels).sum(), len(labels), alpha=1 - confidence, method="wilson")
    # float32 probabilities add up to 1 only nearly, which scikit-learn remarks on.
    normalised = probabilities.astype(np.float64) / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    return {
        "loss": float(log_loss(labels, normalised, labels=range(probabilities.shape[1]))),
        "accuracy": float(accuracy_score(labels, predicted)),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "macro_f1": float(f1_score(labels, predicted, average="macro")),
        "images": len(labels),
    }


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Precision, recall and F1 of each class, and how many images it has (support); 0 where a class was never predicted."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0
    )
    return pd.DataFrame({"class": classes, "precision": precision, "recall": recall, "f1": f1, "support": support})


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> np.ndarray:
    """Counts int [classes, classes]: a row for each true class, a column for each predicted one."""
    return confusion_matrix(labels, predicted, labels=range(len(classes)))


def better_phase(train: dict[str, Any], finetune: dict[str, Any]) -> str:
    """Which phase's model is the better one on validation: by accuracy, then by loss; the simpler one where they are equal."""
    return (
        "finetune"
        if (finetune["val_accuracy"], -finetune["val_loss"]) > (train["val_accuracy"], -train["val_loss"])
        else "train"
    )
