"""Classifiers, which consist of preprocessing, backbone, pooling and head."""

from pathlib import Path

import keras
import numpy as np
from keras import layers, regularizers

from pipeline.config import BackboneConfig, TrainConfig
from pipeline.models import backbones
from pipeline.models.backbones import build_backbone

PREPROCESSING, BACKBONE, POOLING, HEAD = "preprocessing", backbones.NAME, "pooling", "head"
"""Names of a classifier's layers, from its input to its output."""


def build_preprocessing(kind: str, image_size: int) -> keras.Model:
    """Build the preprocessing model, which converts RGB pixels, uint8 [b, size, size, 3], to float.

    Args:
        kind: tf scales to [-1, 1]. torch scales to [0, 1], and standardises with ImageNet's mean and standard deviation
            per channel. caffe converts to BGR, 0 to 255, and subtracts ImageNet's mean. lite computes (x - 127) / 128.
            none leaves pixels unchanged, for networks that contain their own preprocessing.
        image_size: Side of the images in pixels.

    Source: `keras.applications.imagenet_utils.preprocess_input`.
    """
    inputs = x = layers.Input((image_size, image_size, 3), dtype="uint8", name="pixels")
    scales = {"tf": (1 / 127.5, -1.0), "torch": (1 / 255, 0.0), "lite": (1 / 128, -127 / 128)}
    scale, offset = scales.get(kind, (1.0, 0.0))
    x = layers.Rescaling(scale, offset=offset)(x)
    if kind == "torch":
        x = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(x)
    elif kind == "caffe":
        x = keras.ops.flip(x, axis=-1)
        x = layers.Normalization(mean=[103.939, 116.779, 123.68], variance=[1.0, 1.0, 1.0])(x)
    return keras.Model(inputs, x, name=PREPROCESSING)


def build_classifier(
    backbone: BackboneConfig, train: TrainConfig, size: int, class_count: int, *, weights: Path | None = None
) -> keras.Model:
    """Build a classifier, which maps RGB pixels, uint8 [b, size, size, 3], to class probabilities.

    Its layers are named PREPROCESSING, BACKBONE, POOLING and HEAD. POOLING averages the feature maps, and the other
    layers are nested models. The output is float32 [b, classes].

    Args:
        backbone: Settings of the backbone, its weights and its preprocessing.
        train: Dropout, hidden units and L2 penalty of the head.
        size: Side of the images in pixels.
        class_count: Number of classes.
        weights: Copy of the weights file that `backbone.weights` names; None to use that setting.

    Raises:
        PipelineError: The backbone's weights are not available, or don't fit the network.
    """
    inputs = layers.Input((size, size, 3), dtype="uint8", name="image")
    x = build_preprocessing(backbone.preprocessing, size)(inputs)
    x = build_backbone(backbone, size, weights)(x)
    x = layers.GlobalAveragePooling2D(name=POOLING)(x)
    x = build_head(train, x.shape[-1], class_count)(x)
    return keras.Model(inputs, x, name=backbone.name)


def with_input_size(model: keras.Model, size: int) -> keras.Model:
    """Return a classifier for another image size that shares its layers and weights with `model`.

    Args:
        model: Classifier from `build_classifier`.
        size: Side of the images in pixels.

    Raises:
        ValueError: The backbone's layers don't fit together at this size.
    """
    inputs = x = layers.Input((size, size, 3), dtype="uint8", name="image")
    for name in (PREPROCESSING, BACKBONE):
        part = model.get_layer(name)
        rewired = keras.models.clone_model(
            part,
            input_tensors=layers.Input((size, size, 3), dtype=part.inputs[0].dtype),
            clone_function=lambda own: own,
        )
        x = keras.Model(rewired.inputs[0], rewired.outputs[0], name=name)(x)
    x = model.get_layer(HEAD)(model.get_layer(POOLING)(x))
    return keras.Model(inputs, x, name=model.name)


def build_head(train: TrainConfig, features: int, class_count: int) -> keras.Model:
    """Build the head, which consists of dropout, a hidden layer if configured, and softmax in float32.

    It maps features, [b, features], to class probabilities, [b, class_count]. The last layer starts from zero weights,
    so that a new head guesses, whatever the scale of the features is.

    Source:
        A. Kolesnikov et al., Big Transfer (BiT): General Visual Representation Learning, 2020.
    """
    penalty = regularizers.L2(train.l2) if train.l2 else None
    head = keras.Sequential([layers.Input((features,)), layers.Dropout(train.dropout, name="dropout")], name=HEAD)
    if train.hidden_units:
        head.add(layers.Dense(train.hidden_units, "relu", kernel_regularizer=penalty, name="hidden"))
    last = {"kernel_initializer": "zeros", "kernel_regularizer": penalty, "dtype": "float32"}
    head.add(layers.Dense(class_count, "softmax", name="probabilities", **last))
    return head


def apply_temperature(model: keras.Model, temperature: float) -> None:
    """Divide a classifier's logits by `temperature`, in place, so that its outputs are calibrated."""
    last = model.get_layer(HEAD).layers[-1]
    last.set_weights([weight / np.float32(temperature) for weight in last.get_weights()])
