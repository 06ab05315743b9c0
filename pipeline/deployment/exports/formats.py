"""Formats of exported classifiers, and the interface of the classes that write and read them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError

if TYPE_CHECKING:
    # Not imported at run time, because it imports TensorFlow and the command line needs only the names of formats.
    from pipeline.deployment.classifier import Classifier


class Predictor(Protocol):
    """Interface of a classifier or an export that predicts class probabilities."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict class probabilities, float32 [b, classes], of RGB images, uint8 [b, h, w, 3]."""


class Exported(Predictor, Protocol):
    """Interface of an export loaded by the runtime of its format."""

    description: Json
    """Result of `pipeline.deployment.classifier.Classifier.description`, read from the metadata of the format."""

    def __init__(self, target: Path):
        """Load the export from the file or folder `target`."""

    @staticmethod
    def write(classifier: "Classifier", images: np.ndarray, target: Path, /) -> None:
        """Export a classifier to the file or folder `target`; `images` are representative inputs."""


@dataclass(frozen=True)
class Format:
    """An export format."""

    name: str
    target: str
    """Name of the exported file or folder."""
    exact: bool = True
    """Whether the export computes in float32, as the classifier does."""

    def implementation(self) -> type[Exported]:
        """Import the class that writes and reads the format.

        Raises:
            PipelineError: The libraries of the format are not installed.
        """
        try:
            # Imported here, because each converter takes seconds to import and may not be installed.
            if self.name == "saved_model":
                from pipeline.deployment.exports.saved_model import SavedModel

                return SavedModel
            if self.name == "onnx":
                from pipeline.deployment.exports.onnx import OnnxRuntime

                return OnnxRuntime
            from pipeline.deployment.exports.tflite import LiteRT, LiteRTInt8

            return {"tflite": LiteRT, "tflite_int8": LiteRTInt8}[self.name]
        except ModuleNotFoundError as error:
            raise PipelineError(
                f'{self.name} needs {error.name}, which is not installed; run pip install ".[export]" in the checkout'
            ) from error


_ALL = (
    Format("saved_model", "saved_model"),
    Format("tflite", "model.tflite"),
    Format("tflite_int8", "model_int8.tflite", exact=False),
    Format("onnx", "model.onnx"),
)
FORMATS = {each.name: each for each in _ALL}
"""All formats by name."""
