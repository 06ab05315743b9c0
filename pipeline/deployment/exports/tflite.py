"""Export to LiteRT (TensorFlow Lite) in float32 and int8, for phones and embedded devices.

The description and the labels are stored as associated files of LiteRT, in a ZIP archive at the end of the file.
"""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from pipeline.deployment.classifier import Classifier
from pipeline.storage.files import Json

_DESCRIPTION, _LABELS = "classifier.json", "labels.txt"


class LiteRT:
    """A float32 export that predicts one image at a time; see `pipeline.deployment.exports.formats.Exported`."""

    def __init__(self, target: Path):
        with zipfile.ZipFile(target) as members:
            self.description: Json = json.loads(members.read(_DESCRIPTION))
        self._interpreter = Interpreter(str(target), num_threads=os.cpu_count())
        self._interpreter.allocate_tensors()
        [entry], [result] = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input, self._output = entry["index"], result["index"]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict class probabilities, float32 [b, classes], of RGB images, uint8 [b, h, w, 3]."""
        return np.concatenate([self._one(image[np.newaxis]) for image in images])

    def _one(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, image)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    @staticmethod
    def write(classifier: Classifier, _images: np.ndarray, target: Path) -> None:
        """Export a classifier in float32 to the file `target`."""
        _convert(classifier, target, [tf.lite.OpsSet.TFLITE_BUILTINS])


class LiteRTInt8(LiteRT):
    """An int8 export of a quarter of the size, with the same inputs and outputs as other formats."""

    @staticmethod
    def write(classifier: Classifier, images: np.ndarray, target: Path) -> None:
        """Export a classifier, quantized to int8, to the file `target`.

        The ranges of activations are calibrated on representative `images`, uint8 [n, h, w, 3].
        """
        _convert(
            classifier,
            target,
            # Operations without an int8 version, such as the cast of pixels, stay in float32.
            [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS],
            optimizations=[tf.lite.Optimize.DEFAULT],
            representative_dataset=lambda: ([image[np.newaxis]] for image in images),
        )


def _convert(classifier: Classifier, target: Path, operations: list[tf.lite.OpsSet], **settings: object) -> None:
    """Convert a classifier with `settings` of the converter, using only the given built-in operations of LiteRT."""
    settings["target_spec"] = {"supported_ops": operations}
    classifier.model.export(str(target), format="litert", verbose=False, **settings)
    with zipfile.ZipFile(target, "a") as members:
        members.writestr(_LABELS, "".join(f"{name}\n" for name in classifier.classes))
        members.writestr(_DESCRIPTION, json.dumps(classifier.description(), ensure_ascii=False, indent=2))
