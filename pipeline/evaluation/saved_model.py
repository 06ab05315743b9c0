"""Check of the saved model on single images: its latency, and its agreement with what was evaluated.

The saved model is the plain network, in float32 throughout. In training and evaluation the frozen part is folded, and
may compute in reduced precision.
"""

from time import perf_counter

import numpy as np
import tensorflow as tf

from pipeline.evaluation.phase_result import PhaseResult, TestSet
from pipeline.models.classifier import BACKBONE
from pipeline.models.graph import count_macs

# Budget in multiply-adds, which caps the number of images that the slow, unfolded model is checked on.
_MACS = 1.5e11
_MIN_IMAGES, _MAX_IMAGES = 16, 64
# Predictions before the time is taken: the first ones take longer.
_WARM_UP = 2


def check_saved_model(result: PhaseResult, test: TestSet, passes: int) -> tuple[dict[str, float], float]:
    """Predict test images that are spread over the whole set, one after the other, by the saved model.

    Args:
        result: the model, and the evaluated predictions.
        test: the test images.
        passes: number of views of an image whose mean is its prediction.

    Returns:
        - Figures: images, their number; same_class, the fraction with the evaluated class; largest_difference of two
            probabilities.
        - Median time from a decoded image to its probabilities, once warm, on this machine, in milliseconds.
    """
    affordable = round(np.clip(_MACS / count_macs(result.model.get_layer(BACKBONE)), _MIN_IMAGES, _MAX_IMAGES))
    indices = np.linspace(0, len(test.labels) - 1, min(affordable, len(test.labels))).round().astype(np.int64)
    network = tf.function(lambda batch: result.model(batch, training=False))

    def predict(image: np.ndarray) -> np.ndarray:
        return network(image[np.newaxis].repeat(passes, axis=0)).numpy()[0]

    images = test.images.take(indices)
    for _ in range(_WARM_UP):
        predict(images[0])
    saved, seconds = [], []
    for image in images:
        started = perf_counter()
        saved.append(predict(image))
        seconds.append(perf_counter() - started)
    evaluated = result.single_view.raw[indices]
    figures = {
        "images": len(indices),
        "same_class": float((np.argmax(saved, axis=1) == evaluated.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(saved - evaluated).max()),
    }
    return figures, float(np.median(seconds)) * 1000
