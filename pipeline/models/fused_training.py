"""Optimisation of a network for training: convolutions fused with frozen BatchNormalization; stochastic depth."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pipeline.models.convolutions import convolve
from pipeline.models.folding import normalised_convolutions, scale_and_offset, shaped_for
from pipeline.models.graph import graph_nodes


class TrainingConvolution(layers.Layer):
    """Convolution that trains the weights of another layer faster than that layer itself.

    It includes the frozen BatchNormalization after it, which scales the kernel in each call.
    """

    def __init__(self, convolution: layers.Layer, norm: layers.BatchNormalization | None = None):
        """Create the layer with the current statistics of `norm`, or without BatchNormalization."""
        # Weights are scaled in float32 before they are cast to the compute dtype.
        super().__init__(name=f"{convolution.name}_training", autocast=False)
        self.convolution = convolution
        self._scale = self._offset = None
        if norm is not None:
            self._scale, self._offset = (value.astype(np.float32) for value in scale_and_offset(norm))

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Convolve feature maps, [b, h, w, c], to [b, h', w', channels]."""
        convolution, offset = self.convolution, self._offset
        separable = isinstance(convolution, layers.SeparableConv2D)
        kernel = convolution.pointwise_kernel if separable else convolution.kernel
        bias = convolution.bias if convolution.use_bias else None
        if self._scale is not None:
            kernel = kernel * shaped_for(kernel.shape, convolution, self._scale)
            bias = offset if bias is None else offset + bias * self._scale
        inputs, kernel = (ops.cast(value, self.compute_dtype) for value in (inputs, kernel))
        if separable:
            options = {
                each: getattr(convolution, each) for each in ("strides", "padding", "data_format", "dilation_rate")
            }
            depthwise = ops.cast(convolution.depthwise_kernel, self.compute_dtype)
            outputs = ops.separable_conv(inputs, depthwise, kernel, **options)
        else:
            outputs = convolve(inputs, kernel, convolution)
        if bias is not None:
            outputs = outputs + ops.cast(bias, self.compute_dtype)
        return convolution.activation(outputs)


def branch_rates(backbone: keras.Model, highest: float) -> dict[int, float]:
    """Return the drop probability of each residual branch in stochastic depth, by the `id()` of its Add layer.

    It increases linearly from the bottom of the network to `highest` at the top.

    Source: G. Huang et al., Deep Networks with Stochastic Depth (2016).
    """
    adds = [layer for layer, _ in _residual(backbone)]
    return {id(layer): highest * (number + 1) / len(adds) for number, layer in enumerate(adds)}


def _residual(model: keras.Model) -> list[tuple[layers.Layer, int]]:
    """Return the Add layers of residual branches, from bottom to top, with the index of the branch in their inputs."""
    nodes = graph_nodes(model)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    residual = []
    for node in nodes:
        if isinstance(node.operation, layers.Add) and len(node.input_tensors) == 2:
            # The shortcut is also the input of the branch, so it is used twice.
            alone = [uses[id(tensor)] == 1 for tensor in node.input_tensors]
            if sum(alone) == 1:
                residual.append((node.operation, alone.index(True)))
    return residual


def absorb_frozen_batch_norm(model: keras.Model, drop_rates: Mapping[int, float] | None = None) -> keras.Model:
    """Return an equivalent model in which each frozen BatchNormalization after a convolution is fused with it.

    Args:
        model: Functional model, which is not changed, and shares its weights with the result.
        drop_rates: Drop probabilities that replace the model's own stochastic depth, see `branch_rates`; None keeps it.
    """
    follows = {key: pair for key, pair in normalised_convolutions(model).items() if not pair[1].trainable}
    removed = {id(norm) for _, norm in follows.values()}
    rates = drop_rates or {}
    if drop_rates is not None:
        # The model's own stochastic depth consists of Dropout layers with a noise shape.
        removed |= {
            id(layer) for layer in model.layers if isinstance(layer, layers.Dropout) and layer.noise_shape is not None
        }
    branches = {id(layer): place for layer, place in _residual(model) if rates.get(id(layer))}

    def replace(layer: keras.Operation) -> keras.Operation:
        if id(layer) in follows:
            return TrainingConvolution(*follows[id(layer)])
        # Subclasses may compute something else.
        return TrainingConvolution(layer) if type(layer) in (layers.Conv2D, layers.DepthwiseConv2D) else layer

    def call(layer: keras.Operation, *args: keras.KerasTensor, **kwargs: Any) -> keras.KerasTensor:
        if id(layer) in removed:
            return args[0]
        if isinstance(layer, TrainingConvolution):
            # clone_model passes a mask, which a convolution ignores and this layer does not accept.
            kwargs.pop("mask", None)
        if id(layer) in branches:
            inputs = list(args[0])
            branch = inputs[branches[id(layer)]]
            # The noise shape drops the whole branch of an image, or none of it.
            noise_shape = (None, *(1 for _ in branch.shape[1:]))
            drop = layers.Dropout(rates[id(layer)], noise_shape=noise_shape, name=f"{layer.name}_left_out")
            inputs[branches[id(layer)]] = drop(branch)
            return layer(inputs, **kwargs)
        return layer(*args, **kwargs)

    return keras.models.clone_model(
        model,
        clone_function=replace,
        call_function=call,
    )
