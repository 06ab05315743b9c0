"""Preprocessing, which scales pixels as in a backbone's pretraining."""

import keras
from keras import layers

from pipeline.config.size import Size, height_width

PREPROCESSING = "preprocessing"
"""Layer name of the preprocessing in every classifier."""


def build_preprocessing(kind: str, image_size: Size) -> keras.Model:
    """Build the preprocessing model, which converts RGB pixels, uint8 [b, h, w, 3], to float.

    Args:
        kind: tf scales to [-1, 1]. torch scales to [0, 1], and standardises with ImageNet's mean and standard deviation
            per channel; clip does so with those of CLIP. caffe converts to BGR, 0 to 255, and subtracts ImageNet's
            mean. lite computes (x - 127) / 128. none leaves pixels unchanged, for networks that contain their own
            preprocessing.
        image_size: Size of the images.

    Source: `keras.applications.imagenet_utils.preprocess_input`.
    """
    inputs = x = layers.Input((*height_width(image_size), 3), dtype="uint8", name="pixels")
    scales = {"tf": (1 / 127.5, -1.0), "torch": (1 / 255, 0.0), "clip": (1 / 255, 0.0), "lite": (1 / 128, -127 / 128)}
    scale, offset = scales.get(kind, (1.0, 0.0))
    x = layers.Rescaling(scale, offset=offset)(x)
    if kind == "torch":
        x = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
    elif kind == "clip":
        mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        x = layers.Normalization(mean=mean, variance=[each**2 for each in deviation])(x)
    elif kind == "caffe":
        x = keras.ops.flip(x, axis=-1)
        x = layers.Normalization(mean=[103.939, 116.779, 123.68], variance=[1.0, 1.0, 1.0])(x)
    return keras.Model(inputs, x, name=PREPROCESSING)
