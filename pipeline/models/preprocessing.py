"""From pixels to what each network was pretrained on, as plain Keras layers that are saved with the model."""

import keras
from keras import layers


def build_preprocessing(kind: str, image_size: int) -> keras.Model:
    """uint8 RGB [b, size, size, 3] to float, named "preprocessing".

    Args:
        kind: tf: to [-1, 1]; torch: to [0, 1], then ImageNet's mean and deviation taken off each channel; caffe: BGR with ImageNet's mean
            taken off, in 0 to 255; lite: (x - 127) / 128; none: as it is, for networks that hold their own.
        image_size: side in pixels.

    Source: `keras.applications.imagenet_utils.preprocess_input`.
    """
    inputs = x = layers.Input((image_size, image_size, 3), dtype="uint8", name="pixels")
    if kind == "tf":
        x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    elif kind == "torch":
        x = layers.Rescaling(1 / 255)(x)
        x = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
    elif kind == "caffe":
        x = layers.Rescaling(1.0)(x)
        x = keras.ops.flip(x, axis=-1)
        x = layers.Normalization(mean=[103.939, 116.779, 123.68], variance=[1.0, 1.0, 1.0])(x)
    elif kind == "lite":
        x = layers.Rescaling(1 / 128, offset=-127 / 128)(x)
    else:
        x = layers.Rescaling(1.0)(x)
    return keras.Model(inputs, x, name="preprocessing")
