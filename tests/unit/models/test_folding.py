"""The fast form of a frozen network computes what the plain one does."""

import keras
import numpy as np
import pytest

from pipeline.models.backbones import build_backbone
from pipeline.models.folding import Affine, folded
from pipeline.models.freezing import all_layers, batch_norms
from tests.support.backbones import BACKBONES, small, trained_looking

# Kinds of graphs: convolutions before, after and apart from BatchNormalization, separable ones, nested models.
KINDS = {"efficientnet_lite0", "densenet121", "xception", "convnext_tiny"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in KINDS else [pytest.mark.every_backbone]) for name in BACKBONES],
)
def test_a_folded_backbone_equals_the_plain_one(name):
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    config = small(name)
    backbone = build_backbone(config.backbone, config.image_size)
    trained_looking(backbone)
    before = [np.array(weight) for weight in backbone.weights]
    pixels = np.random.default_rng(1).uniform(-1, 1, (2, *backbone.input.shape[1:])).astype(np.float32)
    plain = backbone.predict(pixels, verbose=0)
    fast = folded(backbone, "float32")
    np.testing.assert_allclose(fast.predict(pixels, verbose=0), plain, atol=2e-5 * np.abs(plain).max())
    assert not list(batch_norms(fast))
    assert all(np.array_equal(old, weight) for old, weight in zip(before, backbone.weights, strict=True))
    short = folded(backbone, "bfloat16").predict(pixels, verbose=0).astype(np.float32)
    assert np.abs(short - plain).mean() < 0.05 * np.abs(plain).max()


@pytest.mark.parametrize(("name", "expected"), [("efficientnet_lite0", 0), ("resnet50", 0), ("densenet121", 62)])
def test_batch_norm_behind_a_convolution_is_folded_and_only_that(name, expected):
    config = small(name)
    fast = folded(build_backbone(config.backbone, config.image_size), "float32")
    assert sum(isinstance(layer, Affine) for layer in all_layers(fast)) == expected


def test_a_convolution_that_is_used_twice_keeps_its_kernel():
    inputs = keras.layers.Input((8, 8, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", use_bias=False)
    first = keras.layers.BatchNormalization(name="first")(shared(inputs))
    second = keras.layers.BatchNormalization(name="second")(shared(first))
    tail = keras.layers.Conv2D(4, 1)(second)
    model = keras.Model(inputs, keras.layers.Concatenate()([keras.layers.BatchNormalization(name="third")(tail), tail]))
    trained_looking(model)
    pixels = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    fast = folded(model, "float32")
    assert sum(isinstance(layer, Affine) for layer in fast.layers) == 3
    np.testing.assert_allclose(fast.predict(pixels, verbose=0), model.predict(pixels, verbose=0), atol=1e-5)


def test_separable_convolutions_with_a_bias_fold_too():
    x = inputs = keras.layers.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.SeparableConv2D(5, 3)(x))
    x = keras.layers.BatchNormalization(scale=False)(keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x))
    model = keras.Model(inputs, x)
    trained_looking(model)
    generator = np.random.default_rng(2)
    for convolution in model.layers[1::2]:
        # Initially zeros.
        convolution.bias.assign(generator.normal(size=convolution.bias.shape))
    pixels = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    fast = folded(model, "float32")
    assert not any(isinstance(layer, Affine) for layer in fast.layers)
    np.testing.assert_allclose(fast.predict(pixels, verbose=0), model.predict(pixels, verbose=0), atol=1e-5)
