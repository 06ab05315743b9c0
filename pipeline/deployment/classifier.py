"""A classifier ready to predict: pixels, or the bytes that anyone may send to a server, in; probabilities out."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from pipeline.deployment.find_model import Calibration, ModelReference
from pipeline.inputs.augmentation import fixed_views
from pipeline.inputs.decoding import SAFE_PIXELS, TooLargeError, pixels
from pipeline.models.classifier import apply_temperature
from pipeline.models.folding import folded
from pipeline.models.saving import describe, load_classifier
from pipeline.storage.files import Json

CONCURRENT_PIXELS = 25_000_000
"""Pixels of the largest image that is decoded beside others: more than most cameras take."""

# One thread decodes large images in turn, in the same memory: what a thread has freed, others can't have.
_large_images = ThreadPoolExecutor(1, "large-images")


class Classifier:
    """A loaded classifier, in float32 whatever it was trained in; folded to be fast (`pipeline.models.folding`)."""

    def __init__(
        self, model: keras.Model, classes: list[str], calibration: Calibration, *, origin: str, tta: str = "none"
    ):
        """Fold and trace the network.

        Args:
            model: the whole classifier.
            classes: in the order of the outputs.
            calibration: of the model's probabilities.
            origin: where the model comes from, for people.
            tta: test-time augmentation, as `evaluate.tta` names it.
        """
        self.model, self.classes, self.calibration, self.origin, self.tta = model, classes, calibration, origin, tta
        pixels = tf.TensorSpec((None, self.image_size, self.image_size, 3), tf.uint8)
        network = folded(model, "float32")
        self._predict = tf.function(lambda batch: network(batch, training=False), input_signature=[pixels])

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the network takes."""
        return self.model.inputs[0].shape[1]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict uint8 RGB [b, size, size, 3]: float32 [b, classes]; with test-time augmentation the views' mean."""
        places = np.zeros(len(images), np.int64)
        views = [
            view.select(places).apply(images) if view else images for view in fixed_views(self.tta, self.image_size)
        ]
        return np.mean([self._predict(view).numpy() for view in views], axis=0)

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Bring probabilities [b, classes] to the temperature; None where that is not known."""
        calibration = self.calibration
        temperature = calibration.temperature
        if self.tta != "none":
            fitted = calibration.tta or {}
            # With the temperature applied to each view, the one fitted to the plain views' mean does not hold.
            known = fitted.get("kind") == self.tta and not calibration.applied
            temperature = fitted["temperature"] if known else None
        elif calibration.applied:
            return probabilities
        if temperature is None:
            return None
        # Loads statistics libraries, which a server does not need.
        from pipeline.evaluation.calibration import at_temperature

        return at_temperature(probabilities, temperature)

    def description(self) -> Json:
        """Describe what is needed to use the classifier elsewhere; every export holds it."""
        own = self.calibration
        return describe(self.classes, self.image_size, temperature=own.temperature, applied=own.applied, tta=own.tta)


def load(reference: ModelReference, tta: str = "none") -> Classifier:
    """Load a classifier that was found; nothing in its file is run.

    Args:
        reference: see `pipeline.deployment.find_model.find_model`.
        tta: test-time augmentation, as `evaluate.tta` names it.

    Raises:
        PipelineError: the file is not a classifier of this pipeline.
    """
    model, classes = load_classifier(reference.file)
    calibration = reference.calibration
    if calibration.applied and not calibration.in_weights and calibration.temperature is not None:
        apply_temperature(model, calibration.temperature)
    return Classifier(model, classes, calibration, origin=reference.origin, tta=tta)


def decode_upload(data: bytes, size: int) -> np.ndarray:
    """Decode at most SAFE_PIXELS to uint8 RGB [size, size, 3]; images of more than CONCURRENT_PIXELS one at a time."""
    try:
        return pixels(data, size, CONCURRENT_PIXELS)
    except TooLargeError:
        return _large_images.submit(pixels, data, size, SAFE_PIXELS).result()
