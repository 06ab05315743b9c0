"""The formats that a classifier is exported to, one module each, written by its own ecosystem's converter.

Each module has `write(classifier, images, target)` and `read(target)`, which returns an `Exported`.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from pipeline.system.errors import PipelineError


class Predictor(Protocol):
    """A classifier, or an export of one."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict uint8 RGB [b, size, size, 3]: float32 [b, classes]."""


class Exported(Predictor, Protocol):
    """A classifier read back from an export, by the format's own runtime."""

    description: dict[str, Any]
    """As `pipeline.deployment.classifier.Classifier.description` returns it, from the format's own metadata."""


@dataclass(frozen=True)
class Format:
    """One of the formats."""

    name: str
    target: str
    """Name of the file or folder."""
    exact: bool = True
    """Whether it computes in float32, as the classifier does."""

    def converter(self) -> ModuleType:
        """Import the module that writes and reads the format.

        Raises:
            PipelineError: its libraries are not installed.
        """
        try:
            # Each loads a converter of its own, which takes seconds and need not be installed.
            if self.name == "saved_model":
                from pipeline.deployment.exports import saved_model

                return saved_model
            if self.name == "tflite":
                from pipeline.deployment.exports import tflite

                return tflite
            if self.name == "tflite_int8":
                from pipeline.deployment.exports import tflite_int8

                return tflite_int8
            from pipeline.deployment.exports import onnx

            return onnx
        except ModuleNotFoundError as error:
            raise PipelineError(
                f"{self.name} needs {error.name}, which is not installed; "
                'in the checkout, pip install ".[export]" installs it'
            ) from error


FORMATS = {
    each.name: each
    for each in (
        Format("saved_model", "saved_model"),
        Format("tflite", "model.tflite"),
        Format("tflite_int8", "model_int8.tflite", exact=False),
        Format("onnx", "model.onnx"),
    )
}


def size_bytes(target: Path) -> int:
    """Size of an export, a file or a folder."""
    files = target.rglob("*") if target.is_dir() else [target]
    return sum(file.stat().st_size for file in files if file.is_file())
