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
    """What both phases are evaluated on."""

    # The name is no test of pytest's.
    __test__ = False

    rows: pd.DataFrame
    """Of the manifest."""
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
    """As the model gives them, float32 [n, classes]."""
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
    """Of the images as they are."""
    averaged: Calibrated
    """The mean with the views of test-time augmentation; the same without it."""
    calibrate: bool
    """Whether what is reported is at the temperature."""

    @property
    def probabilities(self) -> np.ndarray:
        """What is reported: float32 [n, classes]."""
        return self.averaged.scaled if self.calibrate else self.averaged.raw

    @property
    def predicted(self) -> np.ndarray:
        """Class indices, int64 [n]."""
        return self.probabilities.argmax(axis=1)


def evaluate_phase(
    model: keras.Model, parts: Parts, test: TestSet, train_validation: TrainingData, evaluate: EvaluateConfig
) -> PhaseResult:
    """Predict the test images, and fit the temperatures on the validation images."""
    everything = np.arange(len(test.rows))
    passes = predict(parts, test.features, everything, tta=evaluate.tta, batch_size=evaluate.batch_size)
    validation_indices = train_validation.validation_indices
    validation = predict(
        parts, train_validation.features, validation_indices, tta=evaluate.tta, batch_size=evaluate.batch_size
    )
    labels = train_validation.labels[validation_indices]
    return PhaseResult(
        model,
        parts,
        single_view=Calibrated(passes[0], fit_temperature(labels, validation[0])),
        averaged=Calibrated(passes.mean(axis=0), fit_temperature(labels, validation.mean(axis=0))),
        calibrate=evaluate.calibrate,
    )


def predict(parts: Parts, features: FeatureCache, places: np.ndarray, *, tta: str, batch_size: int) -> np.ndarray:
    """Class probabilities in the arithmetic of training: float32 [passes, n, classes].

    Args:
        parts: the classifier.
        features: of the images; those of plain images are cached where they fit.
        places: of the images to predict, int [n].
        tta: `evaluate.tta`; the first pass is of the plain images, the others of its views of them.
        batch_size: images in a step.
    """
    images, first = features.of_images, np.zeros(len(places), np.int64)
    # Folded when it is needed first.
    from_pixels = functools.cache(lambda: FrozenBelow(parts.frozen, parts.trainable))
    plain: tuple[Inputs, keras.Model]
    if features.fits(parts.frozen, len(images)):
        plain = features.features(parts.frozen, places, 1, "frozen part"), parts.trainable
    else:
        plain = features.images(places), from_pixels()
    varied = [
        (ImageInputs(images, places, [view.of(first)]), from_pixels()) for view in fixed_views(tta, images.size)[1:]
    ]
    return np.stack([_pass(parts, inputs, network, len(places), batch_size) for inputs, network in (plain, *varied)])


def _pass(parts: Parts, inputs: Inputs, network: keras.Model, count: int, batch_size: int) -> np.ndarray:
    data = batches(inputs, np.zeros(count, np.int64), 1, batch_size, in_order(count))
    with parts.in_their_arithmetic(), progress("predicting", count) as advance:
        watching = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: advance(min(batch_size, count - batch * batch_size))
        )
        return network.predict(data, verbose=0, callbacks=[watching])
