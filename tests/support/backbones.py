"""Small classifiers of every backbone."""

import keras
import numpy as np
import pytest

from pipeline.config import Config
from pipeline.config.compose import GROUPS, composed
from pipeline.config.validate import check
from pipeline.models.classifier import build_classifier
from pipeline.models.freezing import batch_norms

BACKBONES = [name for name in GROUPS["backbone"] if name != "hub"]
"""All shipped backbones; hub has no network of its own."""


def small(name: str, *overrides: str) -> Config:
    """A configuration with random weights at the smallest size that a backbone takes."""
    if name.startswith("hub"):
        pytest.importorskip("keras_hub")
    config = check(composed([f"backbone={name}", "backbone.weights=random", "finetune=light", *overrides]))
    least = config.backbone.min_image_size
    # Patches of a vision transformer fit the smallest size, and not every larger one.
    config.image_size = least if config.backbone.preset else max(least, 32)
    return config


def small_classifier(config: Config) -> keras.Model:
    """A classifier of three classes."""
    return build_classifier(config.backbone, config.train, config.image_size, 3)


def trained_looking(model: keras.Model) -> None:
    """Give every BatchNormalization statistics and weights that make a difference.

    Scales are halved: what random weights let grow from layer to layer magnifies rounding errors until a deep network
    shows nothing else.
    """
    generator = np.random.default_rng(1)
    for layer in batch_norms(model):
        # Initially ones and zeros.
        layer.set_weights([weight + generator.uniform(-0.2, 0.2, weight.shape) for weight in layer.get_weights()])
        if layer.scale:
            layer.gamma.assign(layer.gamma / 2)
