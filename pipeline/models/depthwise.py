"""Depthwise convolutions that are written as Conv2D in groups of one channel, as layers of their own kind."""

import keras
from keras import layers


def with_depthwise_layers(model: keras.Model) -> keras.Model:
    """The same functional network, each Conv2D in as many groups as it has channels and filters a DepthwiseConv2D.

    ConvNeXt in keras.applications is built so. On CPUs Keras compiles grouped convolutions by XLA: 7x7 over [16, 28, 28, 192] took some fifty
    times as long as DepthwiseConv2D. Converters to ONNX know only the latter.

    Args:
        model: stays as it is, and is what is returned where it has none.
    """
    grouped = {layer.name for layer in model.layers if _is_depthwise(layer)}
    if not grouped:
        return model

    def copy(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if layer.name not in grouped:
            return type(layer).from_config(config)
        shared = ("name", "dtype", "kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
        return layers.DepthwiseConv2D(**{key: config[key] for key in shared})

    twin = keras.models.clone_model(model, clone_function=copy)
    for layer, own in zip(model.layers, twin.layers, strict=True):
        weights = layer.get_weights()
        if layer.name in grouped:
            # [height, width, 1, channels] there, [height, width, channels, 1] here.
            weights[0] = weights[0].swapaxes(2, 3)
        own.set_weights(weights)
    return twin


def _is_depthwise(layer: layers.Layer) -> bool:
    return isinstance(layer, layers.Conv2D) and 1 < layer.groups == layer.filters and layer.kernel.shape[2] == 1
