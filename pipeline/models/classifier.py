"""Classifiers, which consist of preprocessing, backbone, pooling and head."""

from pathlib import Path

import keras
import numpy as np
from keras import layers, regularizers

from pipeline.config import BackboneConfig, TrainConfig
from pipeline.config.size import Size, height_width
from pipeline.models import backbones
from pipeline.models.backbones import build_backbone
from pipeline.models.preprocessing import PREPROCESSING as PREPROCESSING
from pipeline.models.preprocessing import build_preprocessing
from pipeline.models.vision_transformer import patch_grid
from pipeline.system.errors import PipelineError

BACKBONE, POOLING, HEAD = backbones.NAME, "pooling", "head"
"""Names of a classifier's layers after PREPROCESSING, from its input to its output."""


def build_classifier(
    backbone: BackboneConfig, train: TrainConfig, size: Size, class_count: int, *, weights: Path | None = None
) -> keras.Model:
    """Build a classifier, which maps RGB pixels, uint8 [b, h, w, 3], to class probabilities.

    Its layers are named PREPROCESSING, BACKBONE, POOLING and HEAD. POOLING averages the feature maps, and the other
    layers are nested models. The output is float32 [b, classes].

    Args:
        backbone: Settings of the backbone, its weights and its preprocessing.
        train: Dropout, hidden units and L2 penalty of the head.
        size: Size of the images.
        class_count: Number of classes.
        weights: Copy of the weights file that `backbone.weights` names; None to use that setting.

    Raises:
        PipelineError: The backbone's weights are not available, or don't fit the network.
    """
    inputs = layers.Input((*height_width(size), 3), dtype="uint8", name="image")
    x = build_preprocessing(backbone.preprocessing, size)(inputs)
    x = build_backbone(backbone, size, weights)(x)
    x = layers.GlobalAveragePooling2D(name=POOLING)(x)
    x = build_head(train, x.shape[-1], class_count)(x)
    return keras.Model(inputs, x, name=backbone.name)


def with_input_size(model: keras.Model, size: Size) -> keras.Model:
    """Return a classifier for another image size that shares its layers and weights with `model`.

    Args:
        model: Classifier from `build_classifier`.
        size: Size of the images.

    Raises:
        PipelineError: The backbone has one image size.
    """
    check_input_size(model.get_layer(BACKBONE))
    inputs = x = layers.Input((*height_width(size), 3), dtype="uint8", name="image")
    for name in (PREPROCESSING, BACKBONE):
        part = model.get_layer(name)
        rewired = keras.models.clone_model(
            part,
            input_tensors=layers.Input((*height_width(size), 3), dtype=part.inputs[0].dtype),
            clone_function=lambda own: own,
        )
        x = keras.Model(rewired.inputs[0], rewired.outputs[0], name=name)(x)
    x = model.get_layer(HEAD)(model.get_layer(POOLING)(x))
    return keras.Model(inputs, x, name=model.name)


def check_input_size(backbone: keras.Model) -> None:
    """Raise an error if the weights or layers of a backbone fit one image size only."""
    why = ""
    if patch_grid(backbone):
        why = "a vision transformer has a position for each patch of its images"
    elif any(isinstance(layer, keras.Sequential) for layer in backbone.layers):
        # Those of ConvNeXt in keras.applications.
        why = "this backbone contains networks that were built for the size of their feature maps"
    if why:
        raise PipelineError(f"finetune.image_size: {why}, and so one image size; use null")


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
