"""The formats that a classifier is exported to, each a class, written and read by its own ecosystem's libraries."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError

if TYPE_CHECKING:
    # It loads TensorFlow, and the command line needs the names alone.
    from pipeline.deployment.classifier import Classifier


class Predictor(Protocol):
    """A classifier, or an export of one."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict uint8 RGB [b, size, size, 3]: float32 [b, classes]."""


class Exported(Predictor, Protocol):
    """A classifier read back from an export, by the format's own runtime."""

    description: Json
    """As `pipeline.deployment.classifier.Classifier.description` returns it, from the format's own metadata."""

    def __init__(self, target: Path):
        """Read the file or folder `target`."""

    @staticmethod
    def write(classifier: "Classifier", images: np.ndarray, target: Path, /) -> None:
        """Write the file or folder `target`, by the format's own converter; `images` are examples of the input."""


@dataclass(frozen=True)
class Format:
    """One of the formats."""

    name: str
    target: str
    """Name of the file or folder."""
    exact: bool = True
    """Whether it computes in float32, as the classifier does."""

    def implementation(self) -> type[Exported]:
        """Import the class that writes and reads the format.

        Raises:
            PipelineError: its libraries are not installed.
        """
        try:
            # Each loads a converter of its own, which takes seconds and need not be installed.
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
                f"{self.name} needs {error.name}, which is not installed; "
                'in the checkout, pip install ".[export]" installs it'
            ) from error


_ALL = (
    Format("saved_model", "saved_model"),
    Format("tflite", "model.tflite"),
    Format("tflite_int8", "model_int8.tflite", exact=False),
    Format("onnx", "model.onnx"),
)
FORMATS = {each.name: each for each in _ALL}
