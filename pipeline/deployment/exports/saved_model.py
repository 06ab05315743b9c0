"""Export to TensorFlow's SavedModel, with the description of the classifier in `assets.extra/`."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.deployment.classifier import Classifier
from pipeline.storage.files import Json, read_json, write_json

# A SavedModel reserves the folder assets.extra for files of the user.
_DESCRIPTION = Path("assets.extra/classifier.json")


class SavedModel:
    """A SavedModel export; see `pipeline.deployment.exports.formats.Exported`."""

    def __init__(self, target: Path):
        self.description: Json = read_json(target / _DESCRIPTION)
        # Referenced, because its functions must not outlive it.
        self._loaded = tf.saved_model.load(str(target))
        self._predict = self._loaded.signatures["serving_default"]
        [self._input] = self._predict.structured_input_signature[1]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict class probabilities, float32 [b, classes], of RGB images, uint8 [b, h, w, 3]."""
        [probabilities] = self._predict(**{self._input: tf.constant(images)}).values()
        return probabilities.numpy()

    @staticmethod
    def write(classifier: Classifier, _images: np.ndarray, target: Path) -> None:
        """Export a classifier to the SavedModel folder `target`, with the endpoint `serve`."""
        model, module = classifier.model, tf.Module()
        pixels = tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype, name="images")
        module.serve = tf.function(lambda images: model(images, training=False), input_signature=[pixels])
        # Keras's export saves each weight twice: as its own variable and as TensorFlow's (3.15).
        module.weights = [weight.value for weight in model.weights]
        tf.saved_model.save(module, str(target), signatures={"serving_default": module.serve})
        write_json(target / _DESCRIPTION, classifier.description())
