"""The temperature that calibrates a classifier, put into its weights."""

import keras
import numpy as np


def cool(model: keras.Model, temperature: float) -> None:
    """Divide a classifier's logits by `temperature`, in place: it gives calibrated probabilities wherever it is used from then on."""
    last = model.get_layer("head").layers[-1]
    last.set_weights([weight / np.float32(temperature) for weight in last.get_weights()])
