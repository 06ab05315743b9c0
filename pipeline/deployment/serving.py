"""The classifier as MLflow serves it: image files' bytes or pixels in, classes and probabilities out.

MLflow imports this module by its name when it loads the model (`loader_module`), so that nothing is pickled. All of
this package is logged with the model: an image is decoded there as it was for training.
"""

import base64
import binascii
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from pipeline.deployment.classifier import Classifier, decode_upload, load
from pipeline.deployment.find_model import ModelReference
from pipeline.inputs.decoding import UndecodableError

_refused = MlflowException.invalid_parameter_value

COLUMN = "image"
MAX_IMAGES = 256
"""Of one request."""


class ServedClassifier:
    """The object that `mlflow.pyfunc.load_model` returns."""

    def __init__(self, classifier: Classifier):
        self.classifier = classifier
        size = classifier.image_size
        # The first prediction takes a second more than all others.
        classifier.probabilities(np.zeros((1, size, size, 3), np.uint8))

    def predict(self, data: pd.DataFrame, params: dict[str, object] | None = None) -> pd.DataFrame:  # noqa: ARG002 (MLflow's)
        """Predict classes and probabilities, one row per image.

        Args:
            data: column `image`: a file's bytes, as they are or in base64 (also as a `data:` address), or pixels:
                integers from 0 to 255 [size, size, 3]. Paths and addresses of other places are never followed.
            params: none are known.

        Returns:
            class, probability (of that class), probabilities (by class).

        Raises:
            MlflowException: an image can't be used, for a reason that the caller can fix: status 400.
        """
        uploads = _images(data)
        if not 1 <= len(uploads) <= MAX_IMAGES:
            raise _refused(f"{len(uploads)} images in one request; give 1 to {MAX_IMAGES} in the column {COLUMN!r}")
        images = [self._pixels(number, upload) for number, upload in enumerate(uploads, 1)]
        probabilities = self.classifier.probabilities(np.stack(images))
        classes = self.classifier.classes
        return pd.DataFrame(
            {
                "class": [classes[place] for place in probabilities.argmax(axis=1)],
                "probability": probabilities.max(axis=1).astype(float),
                "probabilities": [dict(zip(classes, map(float, row), strict=True)) for row in probabilities],
            }
        )

    def _pixels(self, number: int, upload: object) -> np.ndarray:
        try:
            if isinstance(upload, str):
                upload = _from_base64(upload)
            if isinstance(upload, bytes | bytearray):
                return decode_upload(bytes(upload), self.classifier.image_size)
            return _checked_pixels(upload, self.classifier.image_size)
        except (UndecodableError, ValueError) as error:
            raise _refused(f"image {number} of the request: {error}") from error


def _load_pyfunc(path: str) -> ServedClassifier:
    """Load the `.keras` file at `path`; MLflow calls this by its name."""
    return ServedClassifier(load(ModelReference(Path(path), "a logged model")))


def _images(data: object) -> list[object]:
    """The images of a request. MLflow makes one row of a list of texts, whichever way it was sent."""
    if not isinstance(data, pd.DataFrame) or COLUMN not in data:
        raise _refused(f"there is no column {COLUMN!r}")
    images: list[object] = []
    for value in data[COLUMN]:
        several = isinstance(value, list | np.ndarray) and len(value) and all(isinstance(each, str) for each in value)
        images.extend(value if several else [value])
    return images


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(
            "a text that is not base64; send a file's bytes in base64, or pixels; paths and addresses are not followed"
        ) from error


def _checked_pixels(image: object, size: int) -> np.ndarray:
    """Pixels as they were sent: uint8 [size, size, 3]."""
    allowed = f"expected a file's bytes in base64, or pixels: integers from 0 to 255 [{size}, {size}, 3]"
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise ValueError(f"rows of different lengths; {allowed}") from error
    if array.shape != (size, size, 3) or array.dtype.kind not in "iu":
        raise ValueError(f"invalid {array.dtype} {list(array.shape)}; {allowed}")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"invalid values from {array.min()} to {array.max()}; {allowed}")
    return array.astype(np.uint8)
