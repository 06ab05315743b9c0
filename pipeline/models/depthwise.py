"""DepthwiseConv2D in place of Conv2D with one channel in each group."""

import keras
from keras import layers


def with_depthwise_layers(model: keras.Model) -> keras.Model:
    """Return a copy of a functional network with DepthwiseConv2D for each Conv2D whose groups are single channels.

    ConvNeXt in keras.applications has such layers. On CPUs Keras compiles grouped convolutions with XLA: 7x7 on
    [16, 28, 28, 192] took about fifty times as long as DepthwiseConv2D. Converters to ONNX know only the latter.

    Args:
        model: is not changed; returned itself where it has no such layer.
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
