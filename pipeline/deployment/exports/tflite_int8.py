"""LiteRT in int8: a quarter of the size, for processors that are fast at it.

Pixels go in and probabilities come out as in every other format.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.tflite import LiteRT, convert


def write(classifier: Classifier, images: np.ndarray, target: Path) -> None:
    """Write the file `target`; `images`, uint8 [n, size, size, 3], give the ranges of values inside."""

    def representative() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[np.newaxis]]

    # What does not exist in int8, such as the cast of pixels, stays in float32.
    operations = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    convert(
        classifier, target, operations, optimizations=[tf.lite.Optimize.DEFAULT], representative_dataset=representative
    )


read = LiteRT
