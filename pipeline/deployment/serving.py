"""The classifier as MLflow serves it: from what clients have, images as they are in files, to classes and probabilities.

MLflow imports this module by its name when it loads the model (`loader_module`): nothing is pickled. It lies with the model, together with
all of this package, so that an image is decoded there as it was for training.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from pipeline.deployment.classifier import Classifier, load
from pipeline.deployment.demo import decode_upload
from pipeline.deployment.find_model import ModelReference
from pipeline.inputs.decoding import UndecodableError

COLUMN = "image"
MOST = 256
"""Images of one request."""


class ServedClassifier:
    """What `mlflow.pyfunc.load_model` gives."""

    def __init__(self, classifier: Classifier):
        self.classifier = classifier
        size = classifier.image_size
        # The first one takes a second more than all others.
        classifier.probabilities(np.zeros((1, size, size, 3), np.uint8))

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classes and probabilities, a row for each image.

        Args:
            data: column `image`: a file's bytes, as they are or in base64 (also as a `data:` address), or pixels, whole numbers of 0 to 255
                [size, size, 3]. Paths and addresses of other places are never followed.
            params: none are known.

        Returns:
            class, probability (of that class), probabilities (by class).

        Raises:
            MlflowException: an image can't be used, for a reason that the caller can mend: status 400.
        """
        given = _images(data)
        if not 1 <= len(given) <= MOST:
            raise _refused(f"{len(given)} images in one request; it takes 1 to {MOST}, in the column {COLUMN!r}")
        images = [self._pixels(number, each) for number, each in enumerate(given, 1)]
        probabilities = self.classifier.probabilities(np.stack(images))
        classes = self.classifier.classes
        return pd.DataFrame(
            {
                "class": [classes[place] for place in probabilities.argmax(axis=1)],
                "probability": probabilities.max(axis=1).astype(float),
                "probabilities": [dict(zip(classes, map(float, row), strict=True)) for row in probabilities],
            }
        )

    def _pixels(self, number: int, image: Any) -> np.ndarray:
        try:
            if isinstance(image, str):
                image = _from_base64(image)
            if isinstance(image, bytes | bytearray):
                return decode_upload(bytes(image), self.classifier.image_size)
            return _checked(image, self.classifier.image_size)
        except (UndecodableError, ValueError) as error:
            raise _refused(f"image {number} of the request: {error}") from error


def _load_pyfunc(path: str) -> ServedClassifier:
    """How MLflow loads it; `path` is the `.keras` file."""
    return ServedClassifier(load(ModelReference(Path(path), "a logged model")))


def _images(data: Any) -> list[Any]:
    """The images of a request. MLflow makes one row of a list of texts, whichever way it was sent."""
    if not isinstance(data, pd.DataFrame) or COLUMN not in data:
        raise _refused(f"there is no column {COLUMN!r}")
    images: list[Any] = []
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
            "a text that is no base64; send a file's bytes in base64, or pixels, since paths and addresses are not followed"
        ) from error


def _checked(image: Any, size: int) -> np.ndarray:
    """Pixels as they were sent: uint8 [size, size, 3]."""
    told = f"it takes a file's bytes in base64, or pixels, whole numbers of 0 to 255 [{size}, {size}, 3]"
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise ValueError(f"rows of different lengths; {told}") from error
    if array.shape != (size, size, 3) or array.dtype.kind not in "iu":
        raise ValueError(f"{array.dtype} {list(array.shape)} is not allowed; {told}")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"values of {array.min()} to {array.max()} are not allowed; {told}")
    return array.astype(np.uint8)


def _refused(reason: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(reason)
