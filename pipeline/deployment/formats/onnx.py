"""ONNX, for ONNX Runtime and all that reads it; the description stands in `metadata_props`, a property for each of its entries."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tf2onnx  # noqa: F401  (Keras's export takes it, and says less well that it is missing)

from pipeline.deployment.classifier import Classifier
from pipeline.models.inference import folded


def write(classifier: Classifier, pictures: np.ndarray, target: Path) -> None:
    """Write the file `target`."""
    network = folded(classifier.model, "float32")
    # Keras writes no ONNX of a model that was never called.
    network(pictures[:1])
    network.export(str(target), format="onnx", verbose=False)
    model = onnx.load(target)
    told = {name: json.dumps(value, ensure_ascii=False) for name, value in classifier.description().items()}
    onnx.helper.set_model_props(model, told)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


class OnnxRuntime:
    """See `pipeline.deployment.formats.Exported`."""

    def __init__(self, target: Path):
        self._session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        told = self._session.get_modelmeta().custom_metadata_map
        self.description: dict[str, Any] = {name: json.loads(value) for name, value in told.items()}
        [given] = self._session.get_inputs()
        self._input = given.name

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        [answers] = self._session.run(None, {self._input: pictures})
        return answers


read = OnnxRuntime
