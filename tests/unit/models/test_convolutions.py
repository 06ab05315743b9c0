"""Convolutions for training compute what Keras's layers compute, with gradients that differ by rounding only."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.models import convolutions
from pipeline.models.convolutions import convolve


def _outputs_and_gradients(layer, kernel, inputs, function):
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = function(inputs, kernel, layer)
        # The mean of squares is sensitive to every value.
        loss = tf.reduce_mean(tf.cast(outputs, tf.float64) ** 2)
    return [outputs, *tape.gradient(loss, [inputs, kernel])]


def _plain(inputs, kernel, layer):
    operation = keras.ops.depthwise_conv if isinstance(layer, layers.DepthwiseConv2D) else keras.ops.conv
    return operation(inputs, kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate)


def _errors(values, reference):
    """Return the root mean square and the largest of the differences, as shares of those of the reference."""
    values, reference = (np.asarray(tf.cast(tensor, tf.float64)) for tensor in (values, reference))
    difference = values - reference
    return (
        np.linalg.norm(difference) / np.linalg.norm(reference),
        np.abs(difference).max() / np.abs(reference).max(),
    )


@pytest.mark.parametrize(
    ("layer", "side", "channels", "dtype", "special"),
    [
        (layers.Conv2D(96, 1, padding="same"), 4, 80, "bfloat16", "_with_product_gradient"),
        (layers.Conv2D(96, 3, padding="same"), 4, 80, "bfloat16", "_with_product_gradient"),
        (layers.Conv2D(96, (2, 3), padding="same"), 4, 80, "bfloat16", "_with_product_gradient"),
        (layers.Conv2D(96, 3, padding="same"), 4, 80, "float32", None),
        (layers.Conv2D(96, 3, strides=2, padding="same"), 4, 80, "bfloat16", None),
        (layers.Conv2D(96, 3), 4, 80, "bfloat16", None),
        (layers.Conv2D(96, 3, padding="same", groups=4), 4, 80, "bfloat16", None),
        (layers.Conv2D(96, 3, padding="same", dilation_rate=2), 4, 80, "bfloat16", None),
        (layers.Conv2D(8, 3, padding="same"), 12, 8, "bfloat16", None),
        (layers.DepthwiseConv2D(5, padding="same"), 7, 24, "float32", "_with_exchanged_gradient"),
        (layers.DepthwiseConv2D(3, padding="same"), 2, 24, "float32", "_with_exchanged_gradient"),
        (layers.DepthwiseConv2D(4, padding="same"), 6, 24, "float32", "_with_exchanged_gradient"),
        (layers.DepthwiseConv2D(3, padding="same"), 8, 24, "float32", None),
        (layers.DepthwiseConv2D(5, strides=2, padding="same"), 8, 24, "float32", None),
        (layers.DepthwiseConv2D(5, padding="same", depth_multiplier=2), 8, 24, "float32", None),
        (layers.DepthwiseConv2D(5, padding="same"), 28, 24, "float32", None),
    ],
)
def test_outputs_and_gradients_are_those_of_the_layer(monkeypatch, layer, side, channels, dtype, special):
    keras.utils.set_random_seed(1)
    used = []
    for name in ("_with_product_gradient", "_with_exchanged_gradient"):
        own = getattr(convolutions, name)
        monkeypatch.setattr(convolutions, name, lambda *args, own=own, name=name: (used.append(name), own(*args))[1])
    layer.build((None, side, side, channels))
    kernel = tf.cast(layer.kernel, dtype)
    inputs = tf.cast(tf.random.normal((3, side, side, channels)), dtype)
    layers_own = _outputs_and_gradients(layer, kernel, inputs, _plain)
    exact = _outputs_and_gradients(layer, tf.cast(kernel, tf.float64), tf.cast(inputs, tf.float64), _plain)
    # The batch's size is unknown in a graph, as in training.
    signature = [tf.TensorSpec((None, side, side, channels), dtype), tf.TensorSpec(kernel.shape, dtype)]
    graph = tf.function(lambda x, k: _outputs_and_gradients(layer, k, x, convolve), input_signature=signature)
    actual = graph(inputs, kernel)
    assert set(used) == ({special} if special else set())
    # bfloat16 has eight significant bits. Processors round its sums at different places, the layer's own too.
    tolerance = 2e-2 if dtype == "bfloat16" else 1e-5
    for ours, theirs, reference in zip(actual, layers_own, exact, strict=True):
        (mean, largest), (their_mean, their_largest) = _errors(ours, reference), _errors(theirs, reference)
        assert mean <= 1.1 * their_mean + 1e-6
        assert largest <= max(tolerance, 1.1 * their_largest)
