"""A classifier that is asked: pixels in, probabilities out."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.deployment.find_model import ModelReference
from pipeline.inputs.augmentation import fixed_views
from pipeline.models.classifier import apply_temperature
from pipeline.models.description import describe
from pipeline.models.folding import folded
from pipeline.models.saving import load_classifier


@dataclass(frozen=True)
class Calibration:
    """How the classifier's probabilities were set right."""

    temperature: float | None
    """Fitted on validation; None where it is not known."""
    applied: bool
    """Whether the probabilities that the classifier gives are at the temperature."""
    tta: dict[str, Any] | None = None
    """Kind of the test-time augmentation that it was evaluated with, and the temperature of its mean."""


class Classifier:
    """A loaded classifier, in float32 whatever it was trained in, and in the form that answers fastest (`pipeline.models.folding`)."""

    def __init__(
        self, model: keras.Model, classes: list[str], calibration: Calibration, origin: str, tta: str = "none"
    ):
        """`tta`: test-time augmentation, as `evaluate.tta` has it."""
        self.tta = tta
        self.model, self.classes, self.calibration, self.origin = model, classes, calibration, origin
        pixels = tf.TensorSpec((None, self.image_size, self.image_size, 3), tf.uint8)
        fastest = folded(model, "float32")
        self._answer = tf.function(lambda batch: fastest(batch, training=False), input_signature=[pixels])

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that it takes."""
        return self.model.inputs[0].shape[1]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB [b, size, size, 3] to float32 [b, classes]: of the images, or the mean over their views."""
        each = np.zeros(len(images), np.int64)
        views = [view.of(each).apply(images) if view else images for view in fixed_views(self.tta, self.image_size)]
        return np.mean([self._answer(view).numpy() for view in views], axis=0)

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Probabilities [b, classes] at the temperature; None where that is not known."""
        temperature = self.calibration.temperature
        if self.tta != "none":
            fitted = self.calibration.tta or {}
            # A model at its own temperature is at another one's than its mean was fitted at.
            known = fitted.get("kind") == self.tta and not self.calibration.applied
            temperature = fitted["temperature"] if known else None
        elif self.calibration.applied:
            return probabilities
        if temperature is None:
            return None
        # It brings statistics along, which a server has no use for.
        from pipeline.evaluation.calibration import at_temperature

        return at_temperature(probabilities, temperature)

    def description(self) -> dict[str, Any]:
        """What has to be known to use it elsewhere; travels with every export."""
        own = self.calibration
        return describe(self.classes, self.image_size, own.temperature, own.applied, own.tta)


def load(found: ModelReference, tta: str = "none") -> Classifier:
    """Load a classifier that was found, to be asked with test-time augmentation or without; nothing in its file is run.

    Raises:
        PipelineError: the file is none of this pipeline's.
    """
    model, classes = load_classifier(found.file)
    if found.calibrated and not found.temperature_in_weights:
        apply_temperature(model, found.temperature)
    return Classifier(model, classes, Calibration(found.temperature, found.calibrated, found.tta), found.origin, tta)
