"""The form in which a network with frozen BatchNormalization learns fastest."""

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


def with_norms_absorbed(model: keras.Model) -> keras.Model:
    """A model that computes the same, in training and in inference, from the same layers; the frozen BatchNormalization that follows a
    convolution is absorbed into it, any other stays.

    Args:
        model: a functional model; stays as it is, and shares its weights with the result.
    """
    follows = {
        key: (convolution, norm)
        for key, (convolution, norm) in normalised_convolutions(model).items()
        if not norm.trainable
    }
    absorbed = {id(norm) for _, norm in follows.values()}

    def call(layer, *args, **kwargs):
        if id(layer) in absorbed:
            return args[0]
        if isinstance(layer, NormalisedConvolution):
            # clone_model hands on a mask that a convolution leaves alone.
            kwargs.pop("mask", None)
        return layer(*args, **kwargs)

    return keras.models.clone_model(
        model,
        clone_function=lambda layer: NormalisedConvolution(*follows[id(layer)]) if id(layer) in follows else layer,
        call_function=call,
    )
