"""The whole classifier: preprocessing, backbone, pooling and head."""

import keras
from keras import layers, regularizers

from pipeline.config import Config, TrainConfig
from pipeline.models.backbones import build_backbone
from pipeline.models.preprocessing import build_preprocessing


def build_classifier(config: Config, class_count: int) -> keras.Model:
    """uint8 RGB [b, size, size, 3] to float32 class probabilities [b, classes], of four named layers.

    `preprocessing`, `backbone` and `head` are models, `pooling` averages the feature maps.
    """
    size = config.image_size
    inputs = layers.Input((size, size, 3), dtype="uint8", name="image")
    x = build_preprocessing(config.backbone.preprocessing, size)(inputs)
    x = build_backbone(config.backbone, size)(x)
    x = layers.GlobalAveragePooling2D(name="pooling")(x)
    x = build_head(config.train, x.shape[-1], class_count)(x)
    return keras.Model(inputs, x, name=config.backbone.name)


def build_head(train: TrainConfig, features: int, class_count: int) -> keras.Model:
    """Dropout, perhaps a hidden layer, and softmax in float32: features [b, features] to probabilities [b, class_count]."""
    penalty = regularizers.L2(train.l2) if train.l2 else None
    head = keras.Sequential([layers.Input((features,)), layers.Dropout(train.dropout, name="dropout")], name="head")
    if train.hidden_units:
        head.add(layers.Dense(train.hidden_units, "relu", kernel_regularizer=penalty, name="hidden"))
    head.add(layers.Dense(class_count, "softmax", kernel_regularizer=penalty, dtype="float32", name="probabilities"))
    return head
