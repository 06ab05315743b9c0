"""Answers to unequal classes."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from pipeline.errors import PipelineError


def class_weights(
    wanted: str | Mapping[str, float], labels: np.ndarray, classes: Sequence[str]
) -> dict[int, float] | None:
    """What a picture of each class counts in the loss, by the class's index.

    Args:
        wanted: none, balanced (the inverse of the class's share, 1 on average over the pictures), or weights by class name, 1 where not named.
        labels: class indices of the training pictures, int [n].
        classes: their names.

    Raises:
        PipelineError: a weight for a class that there is not.
    """
    if wanted == "none":
        return None
    if wanted == "balanced":
        present = np.unique(labels)
        weights = compute_class_weight("balanced", classes=present, y=labels)
        return dict(zip(present.tolist(), weights.tolist(), strict=True))
    strange = [repr(name) for name in wanted if str(name) not in classes]
    if strange:
        raise PipelineError(
            f"train.class_weight: there is no class {', '.join(strange)}; the classes are {', '.join(map(repr, classes))}"
        )
    given = {str(name): float(weight) for name, weight in wanted.items()}
    return {index: given.get(name, 1.0) for index, name in enumerate(classes)}


def prior_adjusted_accuracy(labels: np.ndarray, predicted: np.ndarray, training: np.ndarray) -> float:
    """The accuracy that these predictions would have if the classes were mixed as in training: recalls, weighted by the training shares.

    Args:
        labels: class indices of the test pictures, int [n].
        predicted: what was predicted, int [n].
        training: class indices of the training pictures, int [m]; classes without a test picture count for nothing.
    """
    size = int(max(labels.max(), training.max())) + 1
    occurring = np.bincount(labels, minlength=size)
    right = np.bincount(labels[predicted == labels], minlength=size)
    shares = np.bincount(training, minlength=size) * (occurring > 0)
    return float((right / np.maximum(occurring, 1) * shares).sum() / shares.sum())
