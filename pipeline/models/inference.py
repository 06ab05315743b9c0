"""The form in which a frozen network computes fastest: BatchNormalization folded away, in the arithmetic asked for."""

from collections import Counter

import keras
import numpy as np
from keras import layers

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
# Pixels take more digits than bfloat16 has.
_EXACT = (layers.Rescaling, layers.Normalization)


class Affine(layers.Layer):
    """What a BatchNormalization with settled statistics does: x * scale + offset, channel by channel.

    Keras computes BatchNormalization in float32 whatever its policy; this keeps to the policy.
    """

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=input_shape[-1:], trainable=False)
        self.offset = self.add_weight(name="offset", shape=input_shape[-1:], trainable=False)

    def call(self, inputs):
        return inputs * self.scale + self.offset


def folded(model: keras.Model, dtype: str) -> keras.Model:
    """A copy of a functional model for inference alone, with every BatchNormalization gone.

    One that follows a convolution is folded into it (kernel times scale, the rest as bias; exact but for rounding); any other becomes
    `Affine`.

    Args:
        model: any functional model; stays as it is.
        dtype: a Keras dtype policy, such as float32 or bfloat16. Rescaling and normalisation of pixels stay float32.
    """
    follows = _normalised_convolutions(model)
    absorbed = {id(norm) for _, norm in follows.values()}
    copies: dict[int, layers.Layer] = {}

    def copy(layer):
        if not isinstance(layer, layers.Layer) or id(layer) in absorbed:
            return layer
        if isinstance(layer, keras.Model):
            copies[id(layer)] = folded(keras.Model(layer.inputs, layer.outputs, name=layer.name), dtype)
        elif isinstance(layer, layers.BatchNormalization):
            copies[id(layer)] = Affine(name=layer.name, dtype=dtype)
        else:
            config = layer.get_config()
            if not isinstance(layer, _EXACT):
                config["dtype"] = dtype
            if id(layer) in follows:
                config["use_bias"] = True
            copies[id(layer)] = type(layer).from_config(config)
        return copies[id(layer)]

    def call(layer, *args, **kwargs):
        # clone_model hands a mask to what takes the place of a BatchNormalization.
        kwargs.pop("mask", None)
        return args[0] if id(layer) in absorbed else layer(*args, **kwargs)

    twin = keras.models.clone_model(model, clone_function=copy, call_function=call)
    originals = {id(layer): layer for layer in model._operations if isinstance(layer, layers.Layer)}
    for key, layer in copies.items():
        original = originals[key]
        if key in follows:
            layer.set_weights(_fold(*follows[key]))
        elif isinstance(layer, Affine):
            layer.set_weights(_scale_and_offset(original))
        elif not isinstance(layer, keras.Model):
            layer.set_weights(original.get_weights())
    return twin


def _normalised_convolutions(model) -> dict[int, tuple[layers.Layer, layers.Layer]]:
    """By the convolution's id: each linear convolution whose one use is a BatchNormalization of its channels, with that."""
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    calls = Counter(id(node.operation) for node in nodes)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in model.outputs)
    made_by = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    found = {}
    for node in nodes:
        norm = node.operation
        if not isinstance(norm, layers.BatchNormalization) or calls[id(norm)] != 1:
            continue
        [tensor] = node.input_tensors
        convolution = made_by[id(tensor)]
        if (
            isinstance(convolution, _CONVOLUTIONS)
            and calls[id(convolution)] == uses[id(tensor)] == 1
            and convolution.activation is keras.activations.linear
            and norm.axis in (-1, len(tensor.shape) - 1)
        ):
            found[id(convolution)] = (convolution, norm)
    return found


def _scale_and_offset(norm: layers.BatchNormalization) -> list[np.ndarray]:
    mean, variance = (np.float64(value) for value in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.float64(norm.gamma)
    offset = -mean * scale
    if norm.center:
        offset = offset + np.float64(norm.beta)
    return [scale, offset]


def _fold(convolution: layers.Layer, norm: layers.BatchNormalization) -> list[np.ndarray]:
    """The weights of the convolution that does both, in the order of its `set_weights`."""
    scale, offset = _scale_and_offset(norm)
    weights = [np.float64(weight) for weight in convolution.get_weights()]
    bias = weights.pop() if convolution.use_bias else 0.0
    kernel = weights[-1]
    # A depthwise kernel ends in [channels, multiplier], which its output counts as one.
    weights[-1] = kernel * (
        scale.reshape(kernel.shape[-2:]) if isinstance(convolution, layers.DepthwiseConv2D) else scale
    )
    return [np.float32(weight) for weight in [*weights, bias * scale + offset]]
