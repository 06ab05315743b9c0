"""The small CNN that transfer learning is measured against: convolutions from random weights, as the source article's first part trains."""

import keras
from keras import layers


def scratch_cnn(input_shape: tuple[int, int, int], weights: None = None) -> keras.Model:
    """Four blocks of convolution and pooling: float [b, h, w, 3] to [b, h/16, w/16, 128]; always random weights.

    Args:
        input_shape: (height, width, 3).
        weights: only None.
    """
    inputs = x = layers.Input(input_shape)
    for number, filters in enumerate((16, 32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{number}_conv")(x)
        x = layers.MaxPooling2D(2, name=f"block{number}_pool")(x)
    return keras.Model(inputs, x, name="backbone")
