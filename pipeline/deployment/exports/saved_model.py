"""TensorFlow's SavedModel, for TensorFlow Serving and all that loads one; `assets.extra/` holds the description."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.deployment.classifier import Classifier
from pipeline.storage.files import Json, read_json, write_json

# Of a SavedModel, this folder is the user's own.
_DESCRIPTION = Path("assets.extra/classifier.json")


class SavedModel:
    """See `pipeline.deployment.exports.formats.Exported`."""

    def __init__(self, target: Path):
        self.description: Json = read_json(target / _DESCRIPTION)
        # Its functions live as long as it does.
        self._loaded = tf.saved_model.load(str(target))
        self._predict = self._loaded.signatures["serving_default"]
        [self._input] = self._predict.structured_input_signature[1]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict uint8 RGB [b, size, size, 3]: float32 [b, classes]."""
        [probabilities] = self._predict(**{self._input: tf.constant(images)}).values()
        return probabilities.numpy()

    @staticmethod
    def write(classifier: Classifier, _images: np.ndarray, target: Path) -> None:
        """Write the folder `target`."""
        classifier.model.export(str(target), format="tf_saved_model", verbose=False)
        write_json(target / _DESCRIPTION, classifier.description())
