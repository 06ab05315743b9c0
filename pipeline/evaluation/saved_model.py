"""The saved model on single images: how long an answer takes, and whether it is what was evaluated.

It is the plain network, in float32 throughout; in training and evaluation the frozen part is folded, and may compute in short floats.
"""

from time import perf_counter

import numpy as np
import tensorflow as tf

from pipeline.evaluation.phase_result import PhaseResult, TestSet
from pipeline.models.graph import count_macs

# Multiplications for which images are asked about: each takes the whole network in float32, and many of them would be most of VGG16's evaluation.
_WORK = 1.5e11
_FEWEST, _MOST = 16, 64
# Answers before the time is taken: the first ones take more.
_WARM_UP = 2


def check_saved_model(result: PhaseResult, test: TestSet, passes: int) -> tuple[dict[str, float], float]:
    """Ask the saved model for test images spread over the whole set, one after the other.

    Args:
        result: the model, and what was evaluated.
        test: its images.
        passes: of how many views of an image a prediction is the mean.

    Returns:
        - images: how many; same_class: the share that gets the evaluated class; largest_difference: between two probabilities of a class;
        - median time from a decoded image to its probabilities, once warm, on this machine as it is, in milliseconds.
    """
    affordable = round(np.clip(_WORK / count_macs(result.model.get_layer("backbone")), _FEWEST, _MOST))
    places = np.linspace(0, len(test.labels) - 1, min(affordable, len(test.labels))).round().astype(np.int64)
    network = tf.function(lambda batch: result.model(batch, training=False))

    def answer(image: np.ndarray) -> np.ndarray:
        return network(image[np.newaxis].repeat(passes, axis=0)).numpy()[0]

    images = test.images.take(places)
    for _ in range(_WARM_UP):
        answer(images[0])
    saved, seconds = [], []
    for image in images:
        started = perf_counter()
        saved.append(answer(image))
        seconds.append(perf_counter() - started)
    evaluated = result.single_view.raw[places]
    figures = {
        "images": len(places),
        "same_class": float((np.argmax(saved, axis=1) == evaluated.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(saved - evaluated).max()),
    }
    return figures, float(np.median(seconds)) * 1000
