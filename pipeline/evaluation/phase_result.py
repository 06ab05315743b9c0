"""A phase's model and its predictions of the test images."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from pipeline.config import EvaluateConfig
from pipeline.evaluation.calibration import at_temperature, fit_temperature
from pipeline.inputs.augmentation import fixed_views
from pipeline.inputs.batches import ImageInputs, Inputs, batches, in_order
from pipeline.inputs.images import DecodedImages
from pipeline.models.parts import FrozenBelow, Parts
from pipeline.system.terminal import progress
from pipeline.training.data import TrainingData
from pipeline.training.features import FeatureCache


@dataclass(frozen=True)
class TestSet:
    """Test images, on which both phases are evaluated."""

    # Not a test: pytest collects classes whose names begin with Test.
    __test__ = False

    rows: pd.DataFrame
    """Rows of the manifest."""
    labels: np.ndarray
    """Class indices, int64 [n]."""
    images: DecodedImages
    classes: list[str]
    features: FeatureCache
    """Of these images."""


@dataclass(frozen=True)
class Calibrated:
    """Class probabilities, and the temperature that calibrates them."""

    raw: np.ndarray
    """As predicted by the model, float32 [n, classes]."""
    temperature: float
    """Fitted on the validation images, which were augmented alike."""

    @functools.cached_property
    def scaled(self) -> np.ndarray:
        """The probabilities at the temperature, float32 [n, classes]."""
        return at_temperature(self.raw, self.temperature)


@dataclass(frozen=True)
class PhaseResult:
    """A phase's model and its predictions of the test images."""

    model: keras.Model
    parts: Parts
    single_view: Calibrated
    """Of the images without test-time augmentation."""
    averaged: Calibrated
    """Mean over the views of test-time augmentation; equal to `single_view` where there is none."""
    calibrate: bool
    """Whether the reported probabilities are at the temperature."""

    @property
    def probabilities(self) -> np.ndarray:
        """Reported class probabilities, float32 [n, classes]."""
        return self.averaged.scaled if self.calibrate else self.averaged.raw

    @property
    def predicted(self) -> np.ndarray:
        """Reported class indices, int64 [n]."""
        return self.probabilities.argmax(axis=1)


def evaluate_phase(
    model: keras.Model, parts: Parts, *, test: TestSet, train_validation: TrainingData, evaluate: EvaluateConfig
) -> PhaseResult:
    """Predict the test images, and fit the temperatures on the validation images."""
    predict_set = functools.partial(predict, parts, tta=evaluate.tta, batch_size=evaluate.batch_size)
    passes = predict_set(test.features, np.arange(len(test.rows)))
    validation = predict_set(train_validation.features, train_validation.validation_indices)
    labels = train_validation.labels[train_validation.validation_indices]
    return PhaseResult(
        model,
        parts,
        single_view=Calibrated(passes[0], fit_temperature(labels, validation[0])),
        averaged=Calibrated(passes.mean(axis=0), fit_temperature(labels, validation.mean(axis=0))),
        calibrate=evaluate.calibrate,
    )


def predict(parts: Parts, features: FeatureCache, indices: np.ndarray, *, tta: str, batch_size: int) -> np.ndarray:
    """Compute class probabilities in the precision of training.

    Args:
        parts: of the classifier.
        features: of the images; those of plain images are cached where they fit.
        indices: of the images to predict, int [n].
        tta: `evaluate.tta`.
        batch_size: images per step.

    Returns:
        float32 [passes, n, classes]; the first pass is of the plain images, the others of their test-time
        augmentations.
    """
    images, first = features.images, np.zeros(len(indices), np.int64)
    # Folded when it is needed first.
    from_pixels = functools.cache(lambda: FrozenBelow(parts.frozen, parts.trainable))
    passes: list[tuple[Inputs, keras.Model]] = []
    if features.fits(parts.frozen, len(images)):
        passes.append((features.load(parts.frozen, indices), parts.trainable))
    else:
        passes.append((ImageInputs(images, indices, [None]), from_pixels()))
    for view in fixed_views(tta, images.size):
        if view is not None:
            passes.append((ImageInputs(images, indices, [view.select(first)]), from_pixels()))
    return np.stack([_pass(parts, inputs, network, len(indices), batch_size) for inputs, network in passes])


def _pass(parts: Parts, inputs: Inputs, network: keras.Model, count: int, batch_size: int) -> np.ndarray:
    data = batches(inputs, in_order(count), batch_size)
    with parts.in_their_arithmetic(), progress("predicting", count) as advance:
        watching = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, **_: advance(min(batch_size, count - batch * batch_size))
        )
        return network.predict(data, verbose=0, callbacks=[watching])
