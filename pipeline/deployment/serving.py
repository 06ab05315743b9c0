"""Classifier that MLflow loads, which takes images in many forms and returns classes and probabilities.

MLflow imports this module by name when it loads the model (`loader_module`), so that nothing is pickled. The whole
package is logged with the model, so that images are decoded as for training.
"""

import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

from pipeline.deployment.model_inputs import Inputs
from pipeline.inputs.decoding import UndecodableError
from pipeline.system.noise import tensorflow_import
from pipeline.tracking.classifier_files import ModelReference

# The module from which MLflow's server loads the model. Other processes keep their own standard error.
_SERVER = "mlflow.pyfunc.scoring_server.app"

with tensorflow_import() if _SERVER in sys.modules else nullcontext():
    from pipeline.deployment.classifier import Classifier, decode_upload, load

# Number of images that are decoded and predicted at a time.
_BATCH = 64


class RefusedError(MlflowException):
    """Input that the model can't use (HTTP status 400).

    The message can't be changed, since MLflow's scoring server would put the whole request before it.
    """

    def __init__(self, message: str):
        self._message = message
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """Return the reason in one sentence."""
        return self._message

    @message.setter
    def message(self, _other: str) -> None:
        pass


class ServedClassifier:
    """Model that `mlflow.pyfunc.load_model` returns."""

    def __init__(self, classifier: Classifier):
        self.classifier = classifier
        self._decode = partial(decode_upload, decoding=classifier.decoding)
        # Warm-up, because the first prediction takes a second longer than all others.
        classifier.probabilities(np.zeros((1, *classifier.decoding.shape), np.uint8))

    def predict(self, data: object, params: dict[str, object] | None = None) -> pd.DataFrame:  # noqa: ARG002 (signature required by MLflow)
        """Predict classes and probabilities, one row per image.

        Args:
            data: Images of any size. They are pixels [h, w, 3] or [b, h, w, 3], bytes of image files, Pillow images,
                paths, a list of these, or a table with the column `image`. Pixels are integers from 0 to 255, or floats
                from 0 to 1 or 255. They may have 1 channel (grey) or 4 (transparency). Texts in tables and requests are
                base64 or data URIs of image files. Texts in lists may be paths, except on MLflow's server.
            params: Unused; required by MLflow.

        Returns:
            Table with the columns class, probability (of that class) and probabilities (by class name).

        Raises:
            RefusedError: The input has another form, or an image can't be used.
        """
        try:
            inputs = Inputs.of(data)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        starts = range(0, len(inputs.images), _BATCH)
        probabilities = np.concatenate([self._probabilities(inputs, start) for start in starts])
        classes = self.classifier.classes
        return pd.DataFrame(
            {
                "class": [classes[place] for place in probabilities.argmax(axis=1)],
                "probability": probabilities.max(axis=1).astype(float),
                "probabilities": [dict(zip(classes, map(float, row), strict=True)) for row in probabilities],
            }
        )

    def _probabilities(self, inputs: Inputs, start: int) -> np.ndarray:
        numbers = range(start, min(start + _BATCH, len(inputs.images)))
        return self.classifier.probabilities(np.stack([self._pixels(inputs, number) for number in numbers]))

    def _pixels(self, inputs: Inputs, number: int) -> np.ndarray:
        try:
            return inputs.pixels(number, self._decode, self.classifier.decoding.shape)
        except (UndecodableError, ValueError, OSError) as error:
            raise RefusedError(f"Image {number + 1}: {error}") from error


def _load_pyfunc(path: str) -> ServedClassifier:
    """Load the `.keras` file at `path`; MLflow calls this function by name."""
    return ServedClassifier(load(ModelReference(Path(path), "a logged model")))
