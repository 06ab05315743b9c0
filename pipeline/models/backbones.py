"""Backbones with pretrained weights, and replacement of grouped convolutions by DepthwiseConv2D."""

import logging
from pathlib import Path

import keras
import numpy as np
from keras import layers

from pipeline.config import BackboneConfig
from pipeline.config.size import Size, height_width
from pipeline.config.training import HUB
from pipeline.models.efficientnet_lite import LITE, efficientnet_lite
from pipeline.models.hub import hub_network
from pipeline.models.saving import load_network
from pipeline.models.trained_weights import take_weights
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve

log = logging.getLogger(__name__)

NAME = "backbone"
"""Layer name of the backbone in every classifier."""

_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def scratch_cnn(input_shape: tuple[int, int, int]) -> keras.Model:
    """Build a small network with random weights, made of four blocks of convolution and pooling.

    It maps images, float [b, h, w, 3], to feature maps, [b, h/16, w/16, 128].

    Args:
        input_shape: Height, width and 3.
    """
    inputs = x = layers.Input(input_shape)
    for number, filters in enumerate((16, 32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{number}_conv")(x)
        x = layers.MaxPooling2D(2, name=f"block{number}_pool")(x)
    return keras.Model(inputs, x, name="scratch_cnn")


def build_backbone(backbone: BackboneConfig, image_size: Size, weights_file: Path | None = None) -> keras.Model:
    """Build a backbone, which maps preprocessed images, float [b, h, w, 3], to feature maps, [b, h', w', c].

    Args:
        backbone: Settings of the network and its weights.
        image_size: Size of the images.
        weights_file: Copy of the weights file that `backbone.weights` names, or of a trained model with this backbone
            (`.keras`); None to use that setting.

    Raises:
        PipelineError: The weights are not available, or don't fit the network.
    """
    weights = "file" if backbone.has_weights_file else backbone.weights
    if weights == "random" and backbone.constructor != "scratch_cnn":
        log.warning("backbone.weights=random: %s starts from random weights, so nothing is transferred", backbone.name)
    try:
        model = _construct(backbone, image_size, weights if weights in ("imagenet", "preset") else None)
    except Exception as error:
        bundled = backbone.constructor in {*LITE, "scratch_cnn"}
        if isinstance(error, PipelineError) or weights != "imagenet" or bundled:
            raise
        # Keras's message begins with the address, which it has printed already.
        why = str(error).splitlines()[0].rpartition(" -- ")[2]
        raise PipelineError(
            f"backbone.weights: the ImageNet weights of {backbone.name} are not available ({why}). Do one of these:\n"
            "  - copy the folder ~/.keras/models from a machine that has used this backbone\n"
            f"  - set backbone.weights=<path> to the file ({backbone.constructor} without its classifier, 'notop')\n"
            "  - use backbone=efficientnet_lite0, _lite1 or _lite2, whose weights are installed"
        ) from error
    file = weights_file or resolve(backbone.weights)
    is_trained = weights == "file" and file.suffix == ".keras"
    if weights == "file" and not is_trained:
        _load_file(model, backbone, file)
    model = with_depthwise_layers(model)
    if is_trained:
        take_weights(model, load_network(file), backbone, str(file))
    if weights == "file":
        _normalise_as_pretrained(model, backbone)
    # Some constructors return a model with a list of one input, about which Keras would warn in later calls.
    return keras.Model(model.inputs[0], model.outputs[0], name=NAME)


def _construct(backbone: BackboneConfig, image_size: Size, weights: str | None) -> keras.Model:
    shape = (*height_width(image_size), 3)
    if backbone.constructor == "scratch_cnn":
        return scratch_cnn(shape)
    if backbone.constructor == HUB:
        return hub_network(backbone, image_size, pretrained=weights == "preset")
    if lite := LITE.get(backbone.constructor):
        return efficientnet_lite(lite, shape, weights)
    constructor = getattr(keras.applications, backbone.constructor, None)
    if constructor is None:
        raise PipelineError(f"backbone.constructor: keras.applications has no {backbone.constructor!r}")
    return constructor(include_top=False, weights=weights, input_shape=shape)


def _load_file(model: keras.Model, backbone: BackboneConfig, file: Path) -> None:
    try:
        model.load_weights(file)
    except Exception as error:
        raise PipelineError(
            f"backbone.weights: {str(file)!r} does not fit {backbone.name}: {str(error).splitlines()[0]} "
            "Expected a Keras weights file (.weights.h5, or a *_notop.h5 of keras.applications) of this backbone without its classifier"
        ) from error


def _normalise_as_pretrained(model: keras.Model, backbone: BackboneConfig) -> None:
    """Correct the input normalisation of EfficientNetB0 to B7 after loading a weights file.

    Keras's files contain ImageNet's standard deviation where the layer expects a variance, and only weights="imagenet"
    adds a layer that corrects this. Without a correction, normalised pixels would be less than half as large as in
    pretraining.
    """
    if not backbone.constructor.startswith("EfficientNetB"):
        return
    layer = next(each for each in model.layers if isinstance(each, keras.layers.Normalization))
    variance = np.asarray(layer.adapt_variance)
    if np.allclose(variance, _IMAGENET_DEVIATION, atol=1e-3):
        layer.adapt_variance.assign(variance * _IMAGENET_DEVIATION)
        layer.finalize_state()


def with_depthwise_layers(model: keras.Model) -> keras.Model:
    """Replace each Conv2D that has one channel per group with DepthwiseConv2D, in a copy of a functional network.

    ConvNeXt in keras.applications has such layers. On CPUs, Keras compiles grouped convolutions with XLA: a 7x7 kernel
    on [16, 28, 28, 192] took about fifty times as long as DepthwiseConv2D. Converters to ONNX support only the latter.

    Args:
        model: Functional network, which is not changed.

    Returns:
        The copy, or `model` itself if it has no such layer.
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
            # Conv2D has the shape [height, width, 1, channels], DepthwiseConv2D [height, width, channels, 1].
            weights[0] = weights[0].swapaxes(2, 3)
        own.set_weights(weights)
    return twin
