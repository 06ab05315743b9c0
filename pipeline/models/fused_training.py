"""The form in which a network learns: frozen BatchNormalization absorbed, which is fastest, and residual branches left out at random."""

from collections import Counter
from collections.abc import Mapping

import keras
import numpy as np
from keras import layers, ops

from pipeline.models.batch_norm import normalised_convolutions, scale_and_offset, shaped_for


class NormalisedConvolution(layers.Layer):
    """A convolution and the frozen BatchNormalization after it in one: the kernel is scaled as it is used.

    Gradients reach the convolution's own weights, which stay what they were meant to be; nothing passes over the feature maps again.
    """

    def __init__(self, convolution: layers.Layer, norm: layers.BatchNormalization):
        """Takes the statistics of `norm` as they are now."""
        # Weights are multiplied in float32, and rounded only then.
        super().__init__(name=f"{convolution.name}_normalised", autocast=False)
        self.convolution = convolution
        self._scale, self._offset = (np.float32(value) for value in scale_and_offset(norm))

    def call(self, inputs):
        convolution, options = self.convolution, self._options()
        *first, last = self._kernels()
        last = ops.cast(last * shaped_for(last.shape, convolution, self._scale), self.compute_dtype)
        inputs = ops.cast(inputs, self.compute_dtype)
        if isinstance(convolution, layers.SeparableConv2D):
            outputs = ops.separable_conv(inputs, ops.cast(first[0], self.compute_dtype), last, **options)
        elif isinstance(convolution, layers.DepthwiseConv2D):
            outputs = ops.depthwise_conv(inputs, last, **options)
        else:
            outputs = ops.conv(inputs, last, **options)
        offset = self._offset
        if convolution.use_bias:
            offset = offset + convolution.bias * self._scale
        return outputs + ops.cast(offset, self.compute_dtype)

    def _kernels(self) -> list:
        if isinstance(self.convolution, layers.SeparableConv2D):
            return [self.convolution.depthwise_kernel, self.convolution.pointwise_kernel]
        return [self.convolution.kernel]

    def _options(self) -> dict:
        convolution = self.convolution
        return {
            "strides": tuple(convolution.strides),
            "padding": convolution.padding,
            "data_format": convolution.data_format,
            "dilation_rate": convolution.dilation_rate,
        }


def branch_rates(backbone: keras.Model, highest: float) -> dict[int, float]:
    """By the id of each layer that adds a residual branch to what bypassed it: how likely stochastic depth leaves the branch out.

    Rising linearly from the bottom to `highest` (G. Huang et al., Deep Networks with Stochastic Depth, 2016); empty where there are none.
    """
    adds = [layer for layer, _ in _residual(backbone)]
    return {id(layer): highest * (number + 1) / len(adds) for number, layer in enumerate(adds)}


def _residual(model: keras.Model) -> list[tuple[layers.Layer, int]]:
    """The layers that add a branch to what it began from, bottom first, with the branch's place among their inputs."""
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    found = []
    for node in nodes:
        if isinstance(node.operation, layers.Add) and len(node.input_tensors) == 2:
            # What bypasses the branch is its beginning as well.
            alone = [uses[id(tensor)] == 1 for tensor in node.input_tensors]
            if sum(alone) == 1:
                found.append((node.operation, alone.index(True)))
    return found


def _is_stochastic_depth(layer: layers.Layer) -> bool:
    """Whether it is stochastic depth that a backbone brings along."""
    return isinstance(layer, layers.Dropout) and layer.noise_shape is not None


def absorb_frozen_batch_norm(model: keras.Model, left_out: Mapping[int, float] | None = None) -> keras.Model:
    """A model that computes the same from the same layers; the frozen BatchNormalization that follows a convolution is absorbed into it, any
    other stays.

    Args:
        model: a functional model; stays as it is, and shares its weights with the result.
        left_out: how likely branches are left out in training, see `branch_rates`, instead of what the model has of that; None: as it is.
    """
    follows = {
        key: (convolution, norm)
        for key, (convolution, norm) in normalised_convolutions(model).items()
        if not norm.trainable
    }
    gone = {id(norm) for _, norm in follows.values()}
    branches = {}
    if left_out is not None:
        gone |= {id(layer) for layer in model.layers if _is_stochastic_depth(layer)}
        branches = {id(layer): place for layer, place in _residual(model) if left_out.get(id(layer))}

    def call(layer, *args, **kwargs):
        if id(layer) in gone:
            return args[0]
        if isinstance(layer, NormalisedConvolution):
            # clone_model hands on a mask that a convolution leaves alone.
            kwargs.pop("mask", None)
        if id(layer) in branches:
            inputs = list(args[0])
            # One draw for all that an image's branch says.
            leave_out = layers.Dropout(left_out[id(layer)], noise_shape=(None, 1, 1, 1), name=f"{layer.name}_left_out")
            inputs[branches[id(layer)]] = leave_out(inputs[branches[id(layer)]])
            return layer(inputs, **kwargs)
        return layer(*args, **kwargs)

    return keras.models.clone_model(
        model,
        clone_function=lambda layer: NormalisedConvolution(*follows[id(layer)]) if id(layer) in follows else layer,
        call_function=call,
    )


def with_input_size(model: keras.Model, size: int) -> keras.Model:
    """A classifier that takes images of another size, from the same layers and weights.

    Args:
        model: as `pipeline.models.classifier.build_classifier` makes it: convolutions, and a pooling over all that they give.
        size: side in pixels.

    Raises:
        ValueError: the backbone's layers don't fit together at this size.
    """
    inputs = x = layers.Input((size, size, 3), dtype="uint8", name="image")
    for name in ("preprocessing", "backbone"):
        part = model.get_layer(name)
        rewired = keras.models.clone_model(
            part,
            input_tensors=layers.Input((size, size, 3), dtype=part.inputs[0].dtype),
            clone_function=lambda own: own,
        )
        x = keras.Model(rewired.inputs[0], rewired.outputs[0], name=name)(x)
    x = model.get_layer("head")(model.get_layer("pooling")(x))
    return keras.Model(inputs, x, name=model.name)
