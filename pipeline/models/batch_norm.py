"""BatchNormalization with fixed statistics: its scale and offset, and the convolutions that it follows."""

from collections import Counter

import keras
import numpy as np
from keras import layers

from pipeline.models.graph import graph_nodes

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)


def normalised_convolutions(model: keras.Model) -> dict[int, tuple[layers.Layer, layers.BatchNormalization]]:
    """Find the linear convolutions of `model` whose one use is a BatchNormalization of their channels.

    Returns:
        by the convolution's id, the convolution and the BatchNormalization.
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
            isinstance(convolution, CONVOLUTIONS)
            and calls[id(convolution)] == uses[id(tensor)] == 1
            and convolution.activation is keras.activations.linear
            and norm.axis in (-1, len(tensor.shape) - 1)
        ):
            pairs[id(convolution)] = (convolution, norm)
    return pairs


def scale_and_offset(norm: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return `norm` in inference mode as x * scale + offset for each channel: float64 [channels] each."""
    mean, variance = (np.float64(value) for value in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.float64(norm.gamma)
    offset = -mean * scale
    if norm.center:
        offset = offset + np.float64(norm.beta)
    return scale, offset


def shaped_for(kernel_shape: tuple[int, ...], convolution: layers.Layer, scale: np.ndarray) -> np.ndarray:
    """Reshape `scale`, one value for each output channel, so that it multiplies the convolution's last kernel."""
    # A depthwise kernel ends in [channels, multiplier], which its output counts as one.
    return scale.reshape(kernel_shape[-2:]) if isinstance(convolution, layers.DepthwiseConv2D) else scale
