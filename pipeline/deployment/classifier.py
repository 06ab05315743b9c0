"""A loaded classifier that predicts class probabilities, and the decoding of uploaded images."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from pipeline.config.image import Decoding
from pipeline.config.size import size_of
from pipeline.inputs.augmentation import fixed_views
from pipeline.inputs.decoding import SAFE_PIXELS, TooLargeError, pixels
from pipeline.models.classifier import apply_temperature
from pipeline.models.description import describe, read_decoding
from pipeline.models.folding import folded
from pipeline.models.saving import load_classifier
from pipeline.storage.files import Json
from pipeline.tracking.classifier_files import Calibration, ModelReference

CONCURRENT_PIXELS = 25_000_000
"""Maximum number of pixels of an image that is decoded concurrently with others; most photographs have fewer."""

# One thread decodes all large images, because memory that one thread has freed is not reused by other threads.
_large_images = ThreadPoolExecutor(1, "large-images")


class Classifier:
    """A loaded classifier that predicts in float32, folded for speed (see `pipeline.models.folding`)."""

    def __init__(
        self,
        model: keras.Model,
        classes: list[str],
        calibration: Calibration,
        *,
        origin: str,
        tta: str = "none",
        decoding: Decoding | None = None,
    ):
        """Fold and trace the network.

        Args:
            model: Complete classifier.
            classes: Class names in the order of the outputs.
            calibration: Calibration of the model's probabilities.
            origin: Path or address of the model, for messages.
            tta: Kind of test-time augmentation, as in `evaluate.tta`.
            decoding: Decoding of files to the network's input; None for its defaults.
        """
        self.model, self.classes, self.calibration, self.origin, self.tta = model, classes, calibration, origin, tta
        self.decoding = decoding or Decoding(size_of(*model.inputs[0].shape[1:3]))
        pixels = tf.TensorSpec((None, *self.decoding.shape), tf.uint8)
        network = folded(model, "float32")
        self._predict = tf.function(lambda batch: network(batch, training=False), input_signature=[pixels])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict class probabilities, averaged over the views of test-time augmentation.

        Args:
            images: RGB images, uint8 [b, h, w, 3].

        Returns:
            float32 [b, classes].
        """
        places = np.zeros(len(images), np.int64)
        fixed = fixed_views(self.tta, self.decoding.size)
        views = [view.select(places).apply(images) if view else images for view in fixed]
        return np.mean([self._predict(view).numpy() for view in views], axis=0)

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Apply temperature scaling to probabilities [b, classes]; None if the temperature is unknown."""
        calibration = self.calibration
        temperature = calibration.temperature
        if self.tta != "none":
            fitted = calibration.tta or {}
            # The temperature was fitted to the mean of unscaled views, so it is invalid if each view is scaled.
            known = fitted.get("kind") == self.tta and not calibration.applied
            temperature = fitted["temperature"] if known else None
        elif calibration.applied:
            return probabilities
        if temperature is None:
            return None
        # Imported here, because it imports statistics libraries that a server does not need.
        from pipeline.training.temperature import at_temperature

        return at_temperature(probabilities, temperature)

    def description(self) -> Json:
        """Return the metadata that other programs need to use the classifier, which every export contains."""
        own = self.calibration
        return describe(self.classes, self.decoding, temperature=own.temperature, applied=own.applied, tta=own.tta)


def load(reference: ModelReference, tta: str = "none") -> Classifier:
    """Load a classifier without executing code from its file.

    Args:
        reference: Reference returned by `pipeline.deployment.find_model.find_model`.
        tta: Kind of test-time augmentation, as in `evaluate.tta`.

    Raises:
        PipelineError: The file is not a classifier of this pipeline.
    """
    model, classes = load_classifier(reference.file)
    calibration = reference.calibration
    if calibration.applied and not calibration.in_weights and calibration.temperature is not None:
        apply_temperature(model, calibration.temperature)
    decoding = read_decoding(reference.file)
    return Classifier(model, classes, calibration, origin=reference.origin, tta=tta, decoding=decoding)


def decode_upload(data: bytes, decoding: Decoding) -> np.ndarray:
    """Decode and resize an uploaded image to RGB pixels, uint8 [h, w, 3]; see `pipeline.inputs.decoding.pixels`.

    Images of more than CONCURRENT_PIXELS are decoded one at a time.

    Raises:
        UndecodableError: The data is not an image, or the image has more than SAFE_PIXELS.
    """
    try:
        return pixels(data, decoding, CONCURRENT_PIXELS)
    except TooLargeError:
        return _large_images.submit(pixels, data, decoding, SAFE_PIXELS).result()
