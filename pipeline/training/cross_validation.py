"""Cross-validation of logistic regressions on features, which may exceed the memory."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.system.errors import PipelineError

_FOLDS, _FEWEST_FOLDS = 5, 3
# Largest number of feature values (images times features) that a regression is trained on; 32 MiB of float32.
_MAX_VALUES = 2**23
# Multiply-adds of one regression, about ten seconds on a core. With hundreds of classes its steps are fewer: the first
# ones already predict about as well.
_MAX_OPERATIONS = 2e11
_MIN_STEPS, _MAX_STEPS = 10, 100
_CHUNK = 2_000

Features = Callable[[np.ndarray], np.ndarray]
"""Function that returns the features of the images at indices, int [b], as a new array, float32 [b, d]."""


def unit_ids(rows: pd.DataFrame) -> np.ndarray:
    """Return the id of each image's unit, [n], from rows of the manifest; images of a unit stay together."""
    return rows["group"].where(rows["group"].notna(), rows["path"]).to_numpy()


def make_folds(labels: np.ndarray, units: np.ndarray, seed: int) -> np.ndarray:
    """Divide images into up to five folds without divided units; returns the number of each image's fold, int64 [n].

    Args:
        labels: Class index of each image, int [n].
        units: Id of each image's unit, [n].
        seed: Random seed.

    Raises:
        PipelineError: There are too few images or units.
    """
    units_of_class = [len(np.unique(units[labels == each])) for each in np.unique(labels)]
    folds = min(_FOLDS, max(units_of_class))
    if folds < _FEWEST_FOLDS or len(units_of_class) < 2:
        raise PipelineError(
            f"Cross-validation needs at least two classes, one of them with {_FEWEST_FOLDS} images or groups; here are "
            f"{len(units_of_class)} classes with up to {max(units_of_class)}. Add images"
        )
    return fold_numbers(labels, units, folds, seed)


def fold_numbers(labels: np.ndarray, units: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Divide images into folds with about equal fractions of each class, and without divided units.

    Args:
        labels: Class index of each image, int [n].
        units: Id of each image's unit, [n].
        folds: Number of folds.
        seed: Random seed.

    Returns:
        Number of each image's fold, int64 [n].
    """
    ungrouped = len(np.unique(units)) == len(units)
    splitter = (StratifiedKFold if ungrouped else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    numbers = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        # A class with fewer images than folds is missing in some folds, which does no harm.
        warnings.filterwarnings("ignore", "The least populated class")
        for number, (_, members) in enumerate(splitter.split(labels, labels, None if ungrouped else units)):
            numbers[members] = number
    return numbers


def training_sample(indices: np.ndarray, width: int, seed: int, *, limit: int = _MAX_VALUES) -> np.ndarray:
    """Return indices in random order, and at most as many as have `limit` feature values.

    Args:
        indices: Indices of images, int [n].
        width: Number of features of an image.
        seed: Random seed.
        limit: Largest number of feature values.
    """
    return np.random.default_rng(seed).permutation(indices)[: limit // width]


def regression_steps(values: np.ndarray, labels: np.ndarray) -> int:
    """Return the largest number of steps of a regression on features [n, d] with class indices [n]."""
    # A step multiplies the features by the weights of all classes, for the loss and for its gradient.
    affordable = _MAX_OPERATIONS / (2 * values.size * len(np.unique(labels)))
    return int(np.clip(affordable, _MIN_STEPS, _MAX_STEPS))


def regressions(
    values: np.ndarray, labels: np.ndarray, strengths: Sequence[float], *, weights: np.ndarray | None = None
) -> Iterator[ClassifierMixin]:
    """Yield the logistic regression of each strength, which changes when the next one is yielded.

    Args:
        values: Features, float32 [n, d].
        labels: Class index of each row, int [n].
        strengths: Inverse strengths of the L2 penalty, the strongest penalty first.
        weights: Weight of each row, [n]; None: all the same.
    """
    if len(np.unique(labels)) == 1:
        # A rare class has no image outside the folds that are left out.
        constant = DummyClassifier().fit(values, labels)
        yield from (constant for _ in strengths)
        return
    # A weaker penalty starts from the weights of the stronger one, which are near.
    model = LogisticRegression(max_iter=regression_steps(values, labels), warm_start=True)
    for strength in strengths:
        yield model.set_params(C=strength).fit(values, labels, weights)


def fitted_scaler(features: Features, indices: np.ndarray) -> StandardScaler:
    """Fit the standardisation of features to the images at `indices`, int [n]."""
    scaler = StandardScaler(copy=False)
    for chunk in chunks(indices):
        # Fitting to all features at once would need twice their memory in addition.
        scaler.partial_fit(features(chunk))
    return scaler


def chunks(indices: np.ndarray) -> list[np.ndarray]:
    """Divide indices into parts whose features fit into the memory."""
    return np.split(indices, range(_CHUNK, len(indices), _CHUNK))


@contextmanager
def fitting() -> Iterator[None]:
    """Fit logistic regressions on one thread within a block, and without warnings of incomplete convergence.

    The matrices are small, so that several threads would wait for each other, and take at least three times as long. A
    regression that has not fully converged predicts equally well.
    """
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
