"""Classifier served by MLflow, which takes image files or pixels and returns classes and probabilities.

MLflow imports this module by name when it loads the model (`loader_module`), so that nothing is pickled. The whole
package is logged with the model, so that images are decoded as for training.
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
"""Maximum number of images in one request."""


class ServedClassifier:
    """Model that `mlflow.pyfunc.load_model` returns."""

    def __init__(self, classifier: Classifier):
        self.classifier = classifier
        size = classifier.image_size
        # Warm-up, because the first prediction takes a second longer than all others.
        classifier.probabilities(np.zeros((1, size, size, 3), np.uint8))

    def predict(self, data: pd.DataFrame, params: dict[str, object] | None = None) -> pd.DataFrame:  # noqa: ARG002 (signature required by MLflow)
        """Predict classes and probabilities, one row per image.

        Args:
            data: Table with the column `image`. A value is the content of an image file, as bytes, base64 or data URI,
                or an array of pixels, which are integers from 0 to 255 [size, size, 3]. Paths and URLs are rejected.
            params: Unused; required by MLflow.

        Returns:
            Table with the columns class, probability (of that class) and probabilities (by class name).

        Raises:
            MlflowException: The request is invalid or an image can't be decoded (HTTP status 400).
        """
        uploads = _images(data)
        if not 1 <= len(uploads) <= MAX_IMAGES:
            raise _refused(
                f"The request contains {len(uploads)} images; send 1 to {MAX_IMAGES} images in the column {COLUMN!r}"
            )
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
                return decode_upload(bytes(upload), self.classifier.image_size, self.classifier.depth)
            return _checked_pixels(upload, self.classifier.image_size)
        except (UndecodableError, ValueError) as error:
            raise _refused(f"Image {number} of the request: {error}") from error


def _load_pyfunc(path: str) -> ServedClassifier:
    """Load the `.keras` file at `path`; MLflow calls this function by name."""
    return ServedClassifier(load(ModelReference(Path(path), "a logged model")))


def _images(data: object) -> list[object]:
    """Return the images of a request; MLflow merges several strings into one row, which are split again."""
    if not isinstance(data, pd.DataFrame) or COLUMN not in data:
        raise _refused(f"The request has no column {COLUMN!r}")
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
            "the text is not valid base64; send the content of an image file in base64, or pixels, but no path or URL"
        ) from error


def _checked_pixels(image: object, size: int) -> np.ndarray:
    """Validate pixels and return them as uint8 [size, size, 3]."""
    allowed = f"expected an image file in base64, or pixels: integers from 0 to 255 [{size}, {size}, 3]"
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise ValueError(f"the rows of the array have different lengths; {allowed}") from error
    if array.shape != (size, size, 3) or array.dtype.kind not in "iu":
        raise ValueError(f"invalid array of type {array.dtype} and shape {list(array.shape)}; {allowed}")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"invalid values from {array.min()} to {array.max()}; {allowed}")
    return array.astype(np.uint8)
