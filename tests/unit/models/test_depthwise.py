import keras
import numpy as np
import pytest
from keras import layers

from pipeline.models.depthwise import with_depthwise_layers


@pytest.fixture
def grouped():
    """As ConvNeXt has it, with strides, a group of several channels and a nested model beside it."""
    keras.utils.set_random_seed(3)
    inputs = layers.Input((9, 9, 4))
    x = keras.Sequential([layers.Conv2D(8, 1)], name="stem")(inputs)
    x = layers.Conv2D(8, 3, padding="same", groups=8, bias_initializer="normal", name="depthwise")(x) + x
    x = layers.Conv2D(8, 3, strides=2, groups=8, use_bias=False, name="strided")(x)
    x = layers.Conv2D(8, 1, groups=4, name="by twos")(x)
    return keras.Model(inputs, layers.Activation("gelu")(x))


def test_computes_the_same_with_the_same_layers_in_order(grouped):
    twin = with_depthwise_layers(grouped)
    images = np.random.default_rng(1).normal(size=(2, 9, 9, 4)).astype(np.float32)
    np.testing.assert_allclose(twin(images), grouped(images), atol=1e-6)
    assert [layer.name for layer in twin.layers[1:]] == [layer.name for layer in grouped.layers[1:]]
    own = [layer.name for layer in twin.layers if isinstance(layer, layers.DepthwiseConv2D)]
    assert own == ["depthwise", "strided"]


def test_leaves_other_networks_alone():
    model = keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.DepthwiseConv2D(3)])
    assert with_depthwise_layers(model) is model


def test_leaves_its_argument_alone(grouped):
    before = grouped.get_weights()
    with_depthwise_layers(grouped)
    for one, other in zip(before, grouped.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
