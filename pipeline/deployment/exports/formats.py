"""The formats that a classifier is exported to, one a file, each written by its own ecosystem's converter.

Each module has `write(classifier, images, target)` and `read(target)`; what comes of reading is an `Exported`.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from pipeline.system.errors import PipelineError


class Exported(Protocol):
    """A classifier read back from an export, by the format's own runtime."""

    description: dict[str, Any]
    """As `pipeline.deployment.classifier.Classifier.description` gives it, from the format's own metadata."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB [b, size, size, 3] to float32 [b, classes]."""


@dataclass(frozen=True)
class Format:
    """One of the formats."""

    name: str
    target: str
    """Name of the file or folder."""
    exact: bool = True
    """Whether it computes in float32, as the classifier does."""

    @property
    def module(self) -> ModuleType:
        """What writes and reads it.

        Raises:
            PipelineError: its libraries are not installed.
        """
        try:
            # Each loads a converter of its own, which takes seconds and need not be installed.
            if self.name == "saved_model":
                from pipeline.deployment.exports import saved_model as module
            elif self.name == "tflite":
                from pipeline.deployment.exports import tflite as module
            elif self.name == "tflite_int8":
                from pipeline.deployment.exports import tflite_int8 as module
            else:
                from pipeline.deployment.exports import onnx as module
            return module
        except ModuleNotFoundError as error:
            raise PipelineError(
                f'{self.name} takes {error.name}, which is not installed; pip install ".[export]" installs it, in the checkout'
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
    """Of an export, a file or a folder."""
    files = target.rglob("*") if target.is_dir() else [target]
    return sum(file.stat().st_size for file in files if file.is_file())
