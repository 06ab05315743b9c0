"""How long a prediction takes."""

from time import perf_counter

import keras
import numpy as np
import tensorflow as tf

_SECONDS = 1.5
_LEAST, _MOST = 5, 50


def prediction_milliseconds(model: keras.Model, passes: int = 1) -> float:
    """Median time from one decoded picture to its probabilities, in milliseconds, once warm, on this machine as it is; of so many views of it."""
    [inputs] = model.inputs
    picture = tf.zeros((passes, *inputs.shape[1:]), inputs.dtype)
    predict = tf.function(lambda batch: model(batch, training=False))
    for _ in range(3):
        predict(picture).numpy()
    taken: list[float] = []
    while len(taken) < _LEAST or (len(taken) < _MOST and sum(taken) < _SECONDS):
        started = perf_counter()
        predict(picture).numpy()
        taken.append(perf_counter() - started)
    return float(np.median(taken)) * 1000
