"""Backbones with their pretrained weights, and DepthwiseConv2D in place of grouped convolutions."""

import logging
from pathlib import Path

import keras
import numpy as np
from keras import layers

from pipeline.config import BackboneConfig
from pipeline.models.efficientnet_lite0 import efficientnet_lite0
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve

log = logging.getLogger(__name__)

NAME = "backbone"
"""Of every backbone, whichever network it is."""

_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def scratch_cnn(input_shape: tuple[int, int, int]) -> keras.Model:
    """Build four blocks of convolution and pooling: float [b, h, w, 3] to [b, h/16, w/16, 128], with random weights.

    Args:
        input_shape: (height, width, 3).
    """
    inputs = x = layers.Input(input_shape)
    for number, filters in enumerate((16, 32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{number}_conv")(x)
        x = layers.MaxPooling2D(2, name=f"block{number}_pool")(x)
    return keras.Model(inputs, x, name="scratch_cnn")


def build_backbone(backbone: BackboneConfig, image_size: int, weights_file: Path | None = None) -> keras.Model:
    """Build a network without its classifier: preprocessed float [b, size, size, 3] to feature maps [b, h, w, c].

    Args:
        backbone: which network, and its weights.
        image_size: side of the images in pixels.
        weights_file: None: `backbone.weights` names it, or no file.

    Raises:
        PipelineError: its weights are not available, or don't fit.
    """
    weights = "file" if backbone.has_weights_file else backbone.weights
    if weights == "random" and backbone.constructor != "scratch_cnn":
        log.warning("backbone.weights=random: %s starts from random weights, so nothing is transferred", backbone.name)
    try:
        model = _construct(backbone, image_size, "imagenet" if weights == "imagenet" else None)
    except Exception as error:
        if (
            isinstance(error, PipelineError)
            or weights != "imagenet"
            or backbone.constructor in ("efficientnet_lite0", "scratch_cnn")
        ):
            raise
        raise PipelineError(
            f"backbone.weights: the ImageNet weights of {backbone.name} are not available ({str(error).splitlines()[0]}). Three ways on:\n"
            "  - on a machine with access, Keras downloads them to ~/.keras/models at the first use; copy that folder here\n"
            f"  - backbone.weights=<path> of a copy of the file ({backbone.constructor}, without its classifier, 'notop')\n"
            "  - backbone=efficientnet_lite0, whose ImageNet weights are installed with this pipeline"
        ) from error
    if weights == "file":
        _load_file(model, backbone, weights_file or resolve(backbone.weights))
        _normalise_as_pretrained(model, backbone)
    model = with_depthwise_layers(model)
    # Some constructors return a model with a list of one input, which later calls would warn about.
    return keras.Model(model.inputs[0], model.outputs[0], name=NAME)


def _construct(backbone: BackboneConfig, image_size: int, weights: str | None) -> keras.Model:
    shape = (image_size, image_size, 3)
    if backbone.constructor == "scratch_cnn":
        return scratch_cnn(shape)
    if backbone.constructor == "efficientnet_lite0":
        return efficientnet_lite0(shape, weights)
    constructor = getattr(keras.applications, backbone.constructor, None)
    if constructor is None:
        raise PipelineError(
            f"backbone.constructor: keras.applications has no {backbone.constructor!r}; expected a name such as ResNet50"
        )
    return constructor(include_top=False, weights=weights, input_shape=shape)


def _load_file(model: keras.Model, backbone: BackboneConfig, file: Path) -> None:
    try:
        model.load_weights(file)
    except Exception as error:
        raise PipelineError(
            f"backbone.weights: {str(file)!r} does not fit {backbone.name}: {str(error).splitlines()[0]} "
            "Expected is a Keras weights file (.weights.h5, or a *_notop.h5 of keras.applications) of this backbone without its classifier"
        ) from error


def _normalise_as_pretrained(model: keras.Model, backbone: BackboneConfig) -> None:
    """Give EfficientNetB0 to B7 the input scale that they were pretrained with.

    Keras's files hold ImageNet's deviation where the layer expects a variance, and only weights="imagenet" adds a layer
    that makes up for it. With the weights of such a file the network would see pixels less than half as strong.
    """
    if not backbone.constructor.startswith("EfficientNetB"):
        return
    layer = next(each for each in model.layers if isinstance(each, keras.layers.Normalization))
    variance = np.asarray(layer.adapt_variance)
    if np.allclose(variance, _IMAGENET_DEVIATION, atol=1e-3):
        layer.adapt_variance.assign(variance * _IMAGENET_DEVIATION)
        layer.finalize_state()


def with_depthwise_layers(model: keras.Model) -> keras.Model:
    """Return a copy of a functional network with DepthwiseConv2D for each Conv2D whose groups are single channels.

    ConvNeXt in keras.applications has such layers. On CPUs Keras compiles grouped convolutions with XLA: 7x7 on
    [16, 28, 28, 192] took about fifty times as long as DepthwiseConv2D. Converters to ONNX know only the latter.

    Args:
        model: is not changed; returned itself where it has no such layer.
    """
    grouped = {
        layer.name
        for layer in model.layers
        if isinstance(layer, layers.Conv2D) and 1 < layer.groups == layer.filters and layer.kernel.shape[2] == 1
    }
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
