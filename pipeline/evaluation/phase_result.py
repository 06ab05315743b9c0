"""Predictions of a phase's model for the test images, and the check of its saved model."""

import functools
import hashlib
from dataclasses import dataclass
from time import perf_counter

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.evaluation.phase_model import EvaluationSettings, PhaseModel
from pipeline.inputs.augmentation import fixed_views
from pipeline.inputs.batches import ImageInputs, Inputs, batches, in_order
from pipeline.inputs.images import DecodedImages
from pipeline.models.classifier import BACKBONE
from pipeline.models.graph import count_macs
from pipeline.models.parts import FrozenBelow, Parts
from pipeline.storage.cache import Cache
from pipeline.storage.shards import Append
from pipeline.system.terminal import progress
from pipeline.training.features import FeatureCache, TrainingData
from pipeline.training.temperature import at_temperature, fit_temperature

# Budget of multiply-adds, which limits the number of images that the slow, unfolded model is checked on.
_MACS = 1e11
_MIN_IMAGES, _MAX_IMAGES = 8, 32
# Predictions before time is measured, because the first ones take longer.
_WARM_UP = 2


@dataclass(frozen=True)
class TestSet:
    """Test images, on which both phases are evaluated."""

    # Not a test: pytest collects classes whose names begin with Test.
    __test__ = False

    rows: pd.DataFrame
    """Rows of the manifest, one per test image."""
    labels: np.ndarray
    """Class indices, int64 [n]."""
    images: DecodedImages
    classes: list[str]
    features: FeatureCache
    """Cached features of the images."""


@dataclass(frozen=True)
class Calibrated:
    """Class probabilities, and the temperature that calibrates them."""

    raw: np.ndarray
    """Probabilities as predicted by the model, float32 [n, classes]."""
    temperature: float
    """Temperature fitted on the validation images, with the same test-time augmentation."""

    @functools.cached_property
    def scaled(self) -> np.ndarray:
        """Probabilities after temperature scaling, float32 [n, classes]."""
        return at_temperature(self.raw, self.temperature)


@dataclass(frozen=True)
class PhaseResult:
    """A phase's model and its predictions of the test images."""

    model: PhaseModel
    single_view: Calibrated
    """Predictions without test-time augmentation."""
    averaged: Calibrated
    """Mean predictions over all views of test-time augmentation; equal to `single_view` without augmentation."""
    calibrate: bool
    """Whether the reported probabilities are temperature-scaled."""

    @property
    def probabilities(self) -> np.ndarray:
        """Reported class probabilities, float32 [n, classes]."""
        return self.averaged.scaled if self.calibrate else self.averaged.raw

    @property
    def predicted(self) -> np.ndarray:
        """Reported class indices, int64 [n]."""
        return self.probabilities.argmax(axis=1)


def evaluate_phase(
    model: PhaseModel, *, test: TestSet, train_validation: TrainingData, settings: EvaluationSettings, cache: Cache
) -> PhaseResult:
    """Predict the test images, and fit the temperatures on the validation images.

    The jobs of a sweep can share the model of phase 1, so its predictions are cached.
    """
    evaluate, validation = settings.evaluate, train_validation.validation_indices
    passes = len(fixed_views(evaluate.tta, settings.image_size))
    depends = {
        **model.depends,
        "test": test.features.depends,
        "train_validation": train_validation.features.depends,
        "validation": hashlib.sha256(validation.tobytes()).hexdigest(),
    }

    def build(append: Append) -> None:
        for features, indices in (
            (test.features, np.arange(len(test.rows))),
            (train_validation.features, validation),
        ):
            append(predict(model.parts, features, indices, tta=evaluate.tta, batch_size=evaluate.batch_size))

    count, shape = len(test.rows) + len(validation), (passes, len(test.classes))
    predictions = cache.array("predictions", depends, count=count, shape=shape, dtype="float32", build=build)
    of_test, of_validation = np.split(predictions.swapaxes(0, 1), [len(test.rows)], axis=1)
    labels = train_validation.labels[validation]
    return PhaseResult(
        model,
        single_view=Calibrated(of_test[0], fit_temperature(labels, of_validation[0])),
        averaged=Calibrated(of_test.mean(axis=0), fit_temperature(labels, of_validation.mean(axis=0))),
        calibrate=evaluate.calibrate,
    )


def predict(parts: Parts, features: FeatureCache, indices: np.ndarray, *, tta: str, batch_size: int) -> np.ndarray:
    """Compute class probabilities in the precision of training.

    Args:
        parts: Parts of the classifier.
        features: Feature cache of the images; features of unaugmented images are cached if they fit.
        indices: Indices of the images to predict, int [n].
        tta: Kind of test-time augmentation, as in `evaluate.tta`.
        batch_size: Images per batch.

    Returns:
        float32 [n, passes, classes]; the first pass predicts the unaugmented images, each other one an augmentation.
    """
    images, first = features.images, np.zeros(len(indices), np.int64)
    # Folded on first use.
    from_pixels = functools.cache(lambda: FrozenBelow(parts.frozen, parts.trainable))
    passes: list[tuple[Inputs, keras.Model]] = []
    for view in fixed_views(tta, images.size):
        if view is None and features.fits(parts.frozen, len(images)):
            passes.append((features.load(parts.frozen, indices), parts.trainable))
        else:
            passes.append((ImageInputs(images, indices, [None if view is None else view.select(first)]), from_pixels()))
    results = [_pass(parts, inputs, network, len(indices), batch_size) for inputs, network in passes]
    return np.stack(results, axis=1)


def _pass(parts: Parts, inputs: Inputs, network: keras.Model, count: int, batch_size: int) -> np.ndarray:
    data = batches(inputs, in_order(count), batch_size)
    with parts.in_their_arithmetic(), progress("predicting", count) as advance:
        watching = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, **_: advance(min(batch_size, count - batch * batch_size))
        )
        return network.predict(data, verbose=0, callbacks=[watching])


def check_saved_model(result: PhaseResult, test: TestSet, passes: int) -> tuple[dict[str, float], float]:
    """Compare predictions of the saved model with the evaluated ones, and measure its prediction time.

    The saved model is the unfolded network, in float32 throughout. In training and evaluation, the frozen part is
    folded and may compute in reduced precision. Images are spread evenly over the test set and predicted one by one.

    Args:
        result: Model and evaluated predictions.
        test: Test images.
        passes: Number of views of an image that are averaged, which affects only the time.

    Returns:
        - Metrics: images (their number), same_class (fraction of images with the evaluated class) and
            largest_difference (maximum absolute difference of two probabilities).
        - Median time from a decoded image to its probabilities on this machine, after warm-up, in milliseconds.
    """
    affordable = round(np.clip(_MACS / count_macs(result.model.network.get_layer(BACKBONE)), _MIN_IMAGES, _MAX_IMAGES))
    indices = np.linspace(0, len(test.labels) - 1, min(affordable, len(test.labels))).round().astype(np.int64)
    network = tf.function(lambda batch: result.model.network(batch, training=False))

    def predict(image: np.ndarray) -> np.ndarray:
        return network(image[np.newaxis].repeat(passes, axis=0)).numpy()[0]

    images = test.images.take(indices)
    for _ in range(_WARM_UP):
        predict(images[0])
    saved, seconds = [], []
    for image in images:
        started = perf_counter()
        saved.append(predict(image))
        seconds.append(perf_counter() - started)
    evaluated = result.single_view.raw[indices]
    figures = {
        "images": len(indices),
        "same_class": float((np.argmax(saved, axis=1) == evaluated.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(saved - evaluated).max()),
    }
    return figures, float(np.median(seconds)) * 1000
