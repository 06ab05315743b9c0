"""A phase's model and its predictions of the test images."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.data.sources import image_folder
from pipeline.evaluation.calibration import at_temperature, fit_temperature
from pipeline.inputs.augmentation import fixed_views
from pipeline.inputs.batches import ImageInputs, Inputs, batches, in_order
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import Manifest, class_indices
from pipeline.models.parts import FrozenBelow, Parts, parts_for_feature_extraction, parts_for_finetuning
from pipeline.models.saving import load_classifier
from pipeline.storage.cache import Cache
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import progress
from pipeline.training.data import TrainingData
from pipeline.training.features import FeatureCache

PHASES = ("train", "finetune")


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


@dataclass(frozen=True)
class Outcome:
    """A phase's model and what it says of the test images."""

    model: keras.Model
    parts: Parts
    plain: np.ndarray
    """Class probabilities of the images as they are, float32 [n, classes]."""
    own_temperature: float
    """Of these, fitted on the validation images."""
    as_trained: np.ndarray
    """The mean with those of test-time augmentation; the same without it."""
    calibrated: np.ndarray
    """The same at the temperature."""
    temperature: float
    """Fitted on the validation images, which were augmented alike."""
    probabilities: np.ndarray
    """Those of the two that `evaluate.calibrate` chooses."""

    @property
    def predicted(self) -> np.ndarray:
        """Class indices, int64 [n]."""
        return self.probabilities.argmax(axis=1)


def test_set(manifest: Manifest, config: Config, cache: Cache) -> TestSet:
    """The test images of a manifest, decoded."""
    rows = manifest.split("test")
    folder, budget = image_folder(config.dataset), config.hardware.image_cache_gib
    images = DecodedImages(folder, rows, config.image_size, cache, budget, "decoding, test")
    return TestSet(rows, class_indices(rows, manifest.classes), images, manifest.classes)


def predict(
    parts: Parts, images: DecodedImages, places: np.ndarray, config: Config, cache: Cache, count: int | None = None
) -> np.ndarray:
    """Class probabilities of the images at `places`, in order, in the arithmetic of their training: float32 [passes, n, classes].

    The first pass is of the plain images, the others of `evaluate.tta`'s views of them. Frozen work on the plain ones is kept if `count`
    images and views of it are worth keeping: what training decided on, or all of these images.
    """
    feature_cache, each = FeatureCache(images, config, cache), np.zeros(len(places), np.int64)
    # Folded when it is needed first.
    below = functools.cache(lambda: FrozenBelow(parts.frozen, parts.trainable))
    plain: tuple[Inputs, keras.Model]
    if feature_cache.fits_budget(parts.frozen, count or len(images)):
        plain = feature_cache.kept(parts.frozen, places, 1, "frozen part"), parts.trainable
    else:
        plain = feature_cache.images(places), below()
    varied = [
        (ImageInputs(images, places, [view.of(each)]), below())
        for view in fixed_views(config.evaluate.tta, images.size)[1:]
    ]
    return np.stack([_pass(parts, inputs, network, len(places), config) for inputs, network in (plain, *varied)])


def _pass(parts: Parts, inputs: Inputs, network: keras.Model, count: int, config: Config) -> np.ndarray:
    batch_size = config.evaluate.batch_size
    data = batches(inputs, np.zeros(count, np.int64), 1, batch_size, in_order(count))
    with parts.in_their_arithmetic(), progress("predicting", count) as advance:
        watching = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: advance(min(batch_size, count - batch * batch_size))
        )
        return network.predict(data, verbose=0, callbacks=[watching])


def _outcome(
    phase: str, inputs: Path, test: TestSet, train_validation: TrainingData, config: Config, cache: Cache
) -> Outcome:
    model, classes = load_classifier(inputs / phase / "model.keras")
    if classes != test.classes:
        raise PipelineError(
            f"{inputs / phase} was trained on the classes {classes}, the test images have {test.classes}; run {phase} again"
        )
    precision = config.hardware.precision
    if phase == "train":
        parts = parts_for_feature_extraction(model, config.backbone, precision)
    else:
        # What a rule chose, and the last of several phases.
        depth = read_json(inputs / phase / "metrics.json")["unfreeze"]
        parts = parts_for_finetuning(model, config.backbone, replace(config.finetune, unfreeze=depth), precision)
    passes = predict(parts, test.images, np.arange(len(test.rows)), config, cache)
    shown = train_validation.shown(config, getattr(config, phase))
    validation = predict(parts, train_validation.images, train_validation.validation, config, cache, shown)
    labels = train_validation.labels[train_validation.validation]
    as_trained, temperature = passes.mean(axis=0), fit_temperature(labels, validation.mean(axis=0))
    calibrated = at_temperature(as_trained, temperature)
    used = calibrated if config.evaluate.calibrate else as_trained
    own = fit_temperature(labels, validation[0])
    return Outcome(model, parts, passes[0], own, as_trained, calibrated, temperature, used)
