"""Linear classifiers on features that are fitted without gradient descent: ridge and logistic regression."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from scipy.linalg import solve
from sklearn.base import ClassifierMixin

from pipeline.inputs.batches import Inputs
from pipeline.training.cross_validation import chunks, regressions, training_sample

# Score that ridge regression fits to an image's own class, so that its temperature is near 1; those of others are 0.
_TARGET = 10.0
# Bias of a class without images in a fold's training images: it is never predicted there.
_ABSENT = -30.0
# Largest number of feature values that a final logistic regression is fitted to; 1 GiB of float32.
_MAX_VALUES = 2**28


@dataclass(frozen=True)
class Linear:
    """Linear classifier."""

    kernel: np.ndarray
    """Weights, float32 [d, classes]."""
    bias: np.ndarray
    """Biases, float32 [classes]."""

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return the score of each class, float32 [b, classes], for features, float32 [b, d]."""
        return values @ self.kernel + self.bias


@dataclass(frozen=True, eq=False)
class Samples:
    """Features of training images, by variant, with labels and folds."""

    inputs: Inputs
    """Features of n images."""
    variants: int
    """Number of variants of each image, which together count as one image."""
    scale: float
    """Factor of all features."""
    labels: np.ndarray
    """Class index of each image, int64 [n]."""
    classes: int
    """Number of classes."""
    weights: np.ndarray
    """Weight of each image, float32 [n]."""
    folds: np.ndarray
    """Number of each image's fold, int64 [n]."""

    def values(self, images: np.ndarray, variant: int = 0) -> np.ndarray:
        """Return the scaled features, float32 [b, d], of images, int [b], in one variant."""
        taken = self.inputs.take(images, np.full(len(images), variant)).astype(np.float32, copy=False)
        return taken * np.float32(self.scale)


class Solver(Protocol):
    """Method that fits linear classifiers to samples."""

    penalties: ClassVar[Sequence[float]]
    """L2 penalties to choose from, the strongest first."""

    def fits(self, left_out: int | None, penalties: Sequence[float]) -> Iterator[Linear]:
        """Yield the classifier of each penalty, fitted to all folds but `left_out`."""


class Ridge:
    """Ridge regression of scores, solved in closed form from sums over the images of each fold.

    The sums of a fold are a float64 matrix with (1 + d + classes)^2 entries. Features are read once, in parts.
    """

    penalties: ClassVar[Sequence[float]] = (1e6, 3e5, 1e5, 3e4, 1e4, 3e3, 1e3, 3e2, 1e2, 3e1, 1e1)

    def __init__(self, samples: Samples, _seed: int):
        self._classes = samples.classes
        self._moments = [_moments(samples, np.flatnonzero(samples.folds == fold)) for fold in _numbers(samples)]

    def fits(self, left_out: int | None, penalties: Sequence[float]) -> Iterator[Linear]:
        """Yield the classifier of each penalty, see `Solver.fits`."""
        moments = np.sum([own for fold, own in enumerate(self._moments) if fold != left_out], axis=0)
        means = moments[0, 1:] / moments[0, 0]
        centred = moments[1:, 1:] - np.outer(means, moments[0, 1:])
        width = len(means) - self._classes
        gram, cross, diagonal = centred[:width, :width], centred[:width, width:], np.arange(width)
        for penalty in penalties:
            penalised = gram.copy()
            penalised[diagonal, diagonal] += penalty
            kernel = solve(penalised, cross, assume_a="pos", overwrite_a=True)
            bias = means[width:] - means[:width] @ kernel
            yield Linear(kernel.astype(np.float32), bias.astype(np.float32))


def _numbers(samples: Samples) -> range:
    return range(int(samples.folds.max()) + 1)


def _moments(samples: Samples, images: np.ndarray) -> np.ndarray:
    """Return the sums of products of 1, features and targets over images, float64 [1 + d + classes] squared."""
    size = 1 + samples.inputs.shape[0] + samples.classes
    moments = np.zeros((size, size))
    for part in chunks(images):
        targets = _TARGET * np.eye(samples.classes, dtype=np.float32)[samples.labels[part]]
        weights = samples.weights[part, None] / np.float32(samples.variants)
        for variant in range(samples.variants):
            rows = np.hstack([np.ones_like(weights), samples.values(part, variant), targets])
            # Products of some thousand rows are exact enough in float32, which takes half the time.
            moments += rows.T @ (weights * rows)
    return moments


class Logistic:
    """Multinomial logistic regression, fitted by L-BFGS, which starts from the weights of the penalty before."""

    penalties: ClassVar[Sequence[float]] = (1e4, 1e3, 1e2, 1e1, 1e0, 1e-1)

    def __init__(self, samples: Samples, seed: int):
        self._samples, self._seed = samples, seed

    def fits(self, left_out: int | None, penalties: Sequence[float]) -> Iterator[Linear]:
        """Yield the classifier of each penalty, see `Solver.fits`; a fold is predicted from a sample of the others."""
        samples = self._samples
        width, others = samples.variants * samples.inputs.shape[0], np.flatnonzero(samples.folds != left_out)
        limit = {} if left_out is not None else {"limit": _MAX_VALUES}
        images = training_sample(others, width, self._seed, **limit)
        values = np.empty((samples.variants, len(images), samples.inputs.shape[0]), np.float32)
        for variant in range(samples.variants):
            for places in chunks(np.arange(len(images))):
                values[variant, places] = samples.values(images[places], variant)
        labels, weights = samples.labels[images], samples.weights[images] / np.float32(samples.variants)
        fitted = regressions(
            values.reshape(-1, values.shape[-1]),
            np.tile(labels, samples.variants),
            [1 / penalty for penalty in penalties],
            weights=np.tile(weights, samples.variants),
        )
        yield from (_linear(model, values.shape[-1], samples.classes) for model in fitted)


def _linear(model: ClassifierMixin, width: int, classes: int) -> Linear:
    """Return the weights of a regression for all classes, of which its training images may lack some."""
    kernel, bias = np.zeros((width, classes), np.float32), np.full(classes, _ABSENT, np.float32)
    present = model.classes_
    if len(present) == 1:
        bias[present] = 0
    else:
        # With two classes, the regression has one score, which is their difference.
        shares = np.array([-0.5, 0.5] if len(present) == 2 else [1], np.float32)
        kernel[:, present], bias[present] = model.coef_.T * shares, model.intercept_ * shares
    return Linear(kernel, bias)
