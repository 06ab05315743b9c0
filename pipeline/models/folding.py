"""Optimisation of a network for inference, by folding BatchNormalization into convolutions."""

from collections import Counter
from typing import Any

import keras
import numpy as np
from keras import layers

from pipeline.models.graph import graph_nodes


class Affine(layers.Layer):
    """Layer that computes x * scale + offset for each channel, as BatchNormalization does with fixed statistics.

    Keras always computes BatchNormalization in float32, but this layer follows its dtype policy.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights scale and offset, float [channels] each."""
        self.scale = self.add_weight(name="scale", shape=input_shape[-1:], trainable=False)
        self.offset = self.add_weight(name="offset", shape=input_shape[-1:], trainable=False)

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Scale and shift inputs, [..., channels]."""
        return inputs * self.scale + self.offset


def folded(model: keras.Model, dtype: str) -> keras.Model:
    """Return a copy of a functional model for inference only, without BatchNormalization layers.

    A BatchNormalization after a convolution is folded into its kernel and bias, which is exact except for rounding. Any
    other is replaced by `Affine`. Normalization of pixels is replaced by Rescaling, whose parameters are constants of
    the graph; converters mistake those of Normalization for inputs.

    Args:
        model: Functional model, which is not changed.
        dtype: Keras dtype policy, such as float32 or bfloat16. Rescaling and normalisation of pixels stay in float32.
    """
    follows = normalised_convolutions(model)
    absorbed = {id(norm) for _, norm in follows.values()}
    copies: dict[int, layers.Layer] = {}

    def copy(layer: keras.Operation) -> keras.Operation:
        if not isinstance(layer, layers.Layer) or id(layer) in absorbed:
            return layer
        if isinstance(layer, keras.Model):
            copies[id(layer)] = folded(keras.Model(layer.inputs, layer.outputs, name=layer.name), dtype)
        elif isinstance(layer, layers.BatchNormalization):
            copies[id(layer)] = Affine(name=layer.name, dtype=dtype)
        elif isinstance(layer, layers.Normalization):
            copies[id(layer)] = _rescaling(layer)
        else:
            config = layer.get_config()
            # Pixels need more precision than bfloat16 has.
            if not isinstance(layer, layers.Rescaling):
                config["dtype"] = dtype
            if id(layer) in follows:
                config["use_bias"] = True
            copies[id(layer)] = type(layer).from_config(config)
        return copies[id(layer)]

    def call(layer: keras.Operation, *args: keras.KerasTensor, **kwargs: Any) -> keras.KerasTensor:
        # clone_model passes a mask to the layer that replaces a BatchNormalization.
        kwargs.pop("mask", None)
        return args[0] if id(layer) in absorbed else layer(*args, **kwargs)

    twin = keras.models.clone_model(model, clone_function=copy, call_function=call)
    originals = {id(layer): layer for layer in model.layers}
    for key, layer in copies.items():
        original = originals[key]
        if key in follows:
            layer.set_weights(_fold(*follows[key]))
        elif isinstance(layer, Affine):
            layer.set_weights(scale_and_offset(original))
        elif not isinstance(original, keras.Model | layers.Normalization):
            layer.set_weights(original.get_weights())
    return twin


def _rescaling(normalization: layers.Normalization) -> layers.Rescaling:
    mean, variance = (np.ravel(np.float64(each)) for each in (normalization.mean, normalization.variance))
    scale = 1 / np.sqrt(variance)
    return layers.Rescaling(scale.tolist(), (-mean * scale).tolist(), name=normalization.name)


def _fold(convolution: layers.Layer, norm: layers.BatchNormalization) -> list[np.ndarray]:
    """Return the weights of a convolution that includes `norm`, in the order of its `set_weights`."""
    scale, offset = scale_and_offset(norm)
    weights = [weight.astype(np.float64) for weight in convolution.get_weights()]
    bias = weights.pop() if convolution.use_bias else 0.0
    weights[-1] = weights[-1] * shaped_for(weights[-1].shape, convolution, scale)
    return [weight.astype(np.float32) for weight in [*weights, bias * scale + offset]]


def normalised_convolutions(model: keras.Model) -> dict[int, tuple[layers.Layer, layers.BatchNormalization]]:
    """Find convolutions without activation whose output is used only by a BatchNormalization of its channels.

    Returns:
        Pairs of convolution and BatchNormalization, by the convolution's `id()`.
    """
    nodes = graph_nodes(model)
    calls = Counter(id(node.operation) for node in nodes)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in model.outputs)
    made_by = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    pairs = {}
    for node in nodes:
        norm = node.operation
        if not isinstance(norm, layers.BatchNormalization) or calls[id(norm)] != 1:
            continue
        [tensor] = node.input_tensors
        convolution = made_by[id(tensor)]
        if (
            isinstance(convolution, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D)
            and calls[id(convolution)] == uses[id(tensor)] == 1
            and convolution.activation is keras.activations.linear
            and norm.axis in (-1, len(tensor.shape) - 1)
        ):
            pairs[id(convolution)] = (convolution, norm)
    return pairs


def scale_and_offset(norm: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and the offset that `norm` applies in inference mode, float64 [channels] each."""
    mean, variance = (np.float64(value) for value in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.float64(norm.gamma)
    offset = -mean * scale
    if norm.center:
        offset = offset + np.float64(norm.beta)
    return scale, offset


def shaped_for(kernel_shape: tuple[int, ...], convolution: layers.Layer, scale: np.ndarray) -> np.ndarray:
    """Reshape `scale`, with one value per output channel, for multiplying it with the convolution's last kernel."""
    # A depthwise kernel ends in [channels, multiplier], which are a single axis of its output.
    return scale.reshape(kernel_shape[-2:]) if isinstance(convolution, layers.DepthwiseConv2D) else scale
