"""LiteRT (TensorFlow Lite), for phones and small boards, in float32 and in int8.

Description and labels are associated files as its metadata has them: members of a ZIP archive at the file's end.
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
    """See `pipeline.deployment.exports.formats.Exported`. One image at a time, as phones have them."""

    def __init__(self, target: Path):
        with zipfile.ZipFile(target) as members:
            self.description: Json = json.loads(members.read(_DESCRIPTION))
        self._interpreter = Interpreter(str(target), num_threads=os.cpu_count())
        self._interpreter.allocate_tensors()
        [entry], [result] = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input, self._output = entry["index"], result["index"]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict uint8 RGB [b, size, size, 3]: float32 [b, classes]."""
        return np.concatenate([self._one(image[np.newaxis]) for image in images])

    def _one(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, image)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    @staticmethod
    def write(classifier: Classifier, _images: np.ndarray, target: Path) -> None:
        """Write the file `target`, in float32."""
        _convert(classifier, target, [tf.lite.OpsSet.TFLITE_BUILTINS])


class LiteRTInt8(LiteRT):
    """A quarter of the size, for processors that are fast at int8; takes and gives what every other format does."""

    @staticmethod
    def write(classifier: Classifier, images: np.ndarray, target: Path) -> None:
        """Write the file `target`; `images`, uint8 [n, size, size, 3], give the ranges of values inside."""
        _convert(
            classifier,
            target,
            # What does not exist in int8, such as the cast of pixels, stays in float32.
            [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS],
            optimizations=[tf.lite.Optimize.DEFAULT],
            representative_dataset=lambda: ([image[np.newaxis]] for image in images),
        )


def _convert(classifier: Classifier, target: Path, operations: list[tf.lite.OpsSet], **settings: object) -> None:
    """Write `target` with the converter's `settings`, of LiteRT's own `operations` alone: every device can run it."""
    settings["target_spec"] = {"supported_ops": operations}
    classifier.model.export(str(target), format="litert", verbose=False, **settings)
    with zipfile.ZipFile(target, "a") as members:
        members.writestr(_LABELS, "".join(f"{name}\n" for name in classifier.classes))
        members.writestr(_DESCRIPTION, json.dumps(classifier.description(), ensure_ascii=False, indent=2))
