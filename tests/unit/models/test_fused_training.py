"""A network with its frozen BatchNormalization absorbed computes and learns what the plain one does."""

import keras
import numpy as np
import pytest

from pipeline.models.backbones import build_backbone
from pipeline.models.folding import normalised_convolutions
from pipeline.models.freezing import batch_norm_digest, batch_norms, first_trainable, unfreeze
from pipeline.models.fused_training import absorb_frozen_batch_norm, branch_rates
from tests.support.backbones import BACKBONES, small, trained_looking
from tests.support.training import classifier

# Plain, depthwise and separable convolutions, with, without and after BatchNormalization.
KINDS = {"efficientnet_lite0", "xception", "densenet121", "vgg16"}


def gradients(network, pixels):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        # The mean of squares is sensitive to every channel.
        loss = tf.reduce_mean(network(pixels, training=True) ** 2)
    return loss, tape.gradient(loss, [weight.value for weight in network.trainable_weights])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in KINDS else [pytest.mark.every_backbone]) for name in BACKBONES],
)
def test_outputs_and_gradients_are_those_of_the_plain_network(name):
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    config = small(name)
    backbone = build_backbone(config.backbone, config.image_size)
    trained_looking(backbone)
    unfreeze(
        backbone, first_trainable(backbone, config.backbone.unfreeze, config.backbone.blocks), freeze_batch_norm=True
    )
    fast = absorb_frozen_batch_norm(backbone)
    before = batch_norm_digest(backbone)
    absorbed = len(normalised_convolutions(backbone))
    assert len(list(batch_norms(fast))) == len(list(batch_norms(backbone))) - absorbed
    shared = {id(weight) for weight in backbone.trainable_weights}
    assert {id(weight) for weight in fast.trainable_weights} == shared
    pixels = np.random.default_rng(1).uniform(-1, 1, (2, *backbone.input.shape[1:])).astype(np.float32)
    plain_output = backbone(pixels, training=False).numpy()
    scale = np.abs(plain_output).max()
    np.testing.assert_allclose(fast(pixels, training=False), plain_output, atol=2e-5 * scale)
    if any(isinstance(layer, keras.layers.Dropout) and layer.rate for layer in backbone.layers):
        pytest.skip("its dropout draws anew in each call, so that gradients differ")
    loss, expected = gradients(backbone, pixels)
    fast_loss, actual = gradients(fast, pixels)
    assert float(fast_loss) == pytest.approx(float(loss), rel=1e-4)
    order = {id(weight): gradient for weight, gradient in zip(fast.trainable_weights, actual, strict=True)}
    for weight, gradient in zip(backbone.trainable_weights, expected, strict=True):
        largest = np.abs(gradient).max()
        np.testing.assert_allclose(order[id(weight)], gradient, atol=1e-3 * largest + 1e-12, err_msg=weight.path)
    assert batch_norm_digest(backbone) == before


@pytest.mark.parametrize(("name", "left"), [("efficientnet_lite0", 0), ("densenet121", 62)])
def test_what_follows_a_convolution_is_absorbed_and_only_that(name, left):
    config = small(name)
    backbone = build_backbone(config.backbone, config.image_size)
    backbone.trainable = False
    assert len(list(batch_norms(absorb_frozen_batch_norm(backbone)))) == left


def test_batch_norm_that_learns_stays():
    config = small("efficientnet_lite0")
    backbone = build_backbone(config.backbone, config.image_size)
    unfreeze(backbone, 0, freeze_batch_norm=False)
    assert len(list(batch_norms(absorb_frozen_batch_norm(backbone)))) == len(list(batch_norms(backbone)))


def test_weights_are_multiplied_in_float32_whatever_the_policy():
    inputs = keras.layers.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    trained_looking(model)
    model.layers[-1].trainable = False
    fast = absorb_frozen_batch_norm(model)
    layer = fast.get_layer("conv_training")
    layer.dtype_policy = keras.dtype_policies.get("mixed_bfloat16")
    pixels = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    short = fast(pixels)
    assert short.dtype == "bfloat16"
    np.testing.assert_allclose(np.float32(short), model(pixels), atol=0.05)
    # The bias was given before the scale.
    model.get_layer("conv").bias.assign(np.arange(4.0))
    layer.dtype_policy = keras.dtype_policies.get("float32")
    np.testing.assert_allclose(fast(pixels), model(pixels), atol=1e-5)


def test_branches_are_left_out_in_training_alone(configure):
    keras.utils.set_random_seed(1)
    backbone = classifier(configure("backbone.weights=random")).get_layer("backbone")
    backbone.trainable = False
    rates = branch_rates(backbone, 0.9)
    assert len(rates) == 9
    assert max(rates.values()) == pytest.approx(0.9)
    network = absorb_frozen_batch_norm(backbone, rates)
    pixels = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    scale = np.abs(backbone(pixels)).max()
    np.testing.assert_allclose(network(pixels, training=False), backbone(pixels, training=False), atol=1e-4 * scale)
    assert np.abs(network(pixels, training=True) - backbone(pixels, training=False)).max() > 0.01 * scale
    assert not branch_rates(classifier(configure("backbone=scratch_cnn")).get_layer("backbone"), 0.5)
