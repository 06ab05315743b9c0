"""Backbones of KerasHub, as networks of plain Keras layers."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from pipeline.config import BackboneConfig
from pipeline.config.size import Size, height_width
from pipeline.config.training import PREPROCESSING_KINDS
from pipeline.models.hub_presets import ARCHITECTURES
from pipeline.models.hub_transformers import TRANSFORMERS
from pipeline.models.preprocessing import build_preprocessing
from pipeline.models.vision_transformer import vision_transformer
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve


def hub_network(backbone: BackboneConfig, image_size: Size, *, pretrained: bool) -> keras.Model:
    """Build the network of a KerasHub preset from plain Keras layers, so that its files load without KerasHub.

    It maps preprocessed images, float [b, h, w, 3], to feature maps, [b, h', w', c].

    Args:
        backbone: Settings with `preset` and `pooling`.
        image_size: Size of the images.
        pretrained: Whether to load the preset's weights; otherwise, they are random.

    Raises:
        PipelineError: KerasHub is not installed, the preset can't be loaded, or its network is not supported.
    """
    network = _loaded(backbone, pretrained=pretrained)
    # Of networks for images and texts, only the part for images.
    network = getattr(network, "vision_encoder", network)
    if reader := TRANSFORMERS.get(type(network).__name__):
        return vision_transformer(reader(network), image_size, backbone.pooling)
    if backbone.pooling != "average":
        raise PipelineError(
            f"backbone.pooling: {backbone.pooling!r} is for networks with tokens, not for {backbone.preset}; use average"
        )
    return _convolutional(network, image_size)


def _loaded(backbone: BackboneConfig, *, pretrained: bool) -> Any:
    """Return the network of a preset as KerasHub builds it, at the image size of its pretraining."""
    try:
        # The import takes seconds, and only these backbones need it.
        import keras_hub
    except ImportError as error:
        raise PipelineError(
            f'backbone={backbone.name}: KerasHub is not installed ({error}); run pip install ".[hub]"'
        ) from error
    preset = str(backbone.preset)
    if not pretrained and preset in ARCHITECTURES:
        kind, arguments = ARCHITECTURES[preset]
        return getattr(keras_hub.models, kind)(**arguments)
    place = str(resolve(preset)) if backbone.has_preset_folder else preset
    if backbone.has_preset_folder and not Path(place, "config.json").is_file():
        raise PipelineError(
            f"backbone.preset: {place} has no config.json; expected the folder of a KerasHub preset, or of a Hugging Face model"
        )
    try:
        network = keras_hub.models.Backbone.from_preset(place, load_weights=pretrained, dtype="float32")
    except Exception as error:  # Any, from a damaged file or the network.
        ways = (
            "check that the folder is complete"
            if backbone.has_preset_folder
            else "copy ~/.cache/kagglehub from a machine that has used it, or set backbone.preset=<folder>"
        )
        why = (str(error) or repr(error)).splitlines()[0][:200]
        raise PipelineError(f"backbone.preset: {preset!r} can't be loaded ({why}); {ways}") from error
    _check_preprocessing(backbone, keras_hub, place)
    return network


def _check_preprocessing(backbone: BackboneConfig, keras_hub: Any, place: str) -> None:
    """Raise an error if a preset says that its network was pretrained with other pixel values."""
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(place)
        scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3)
        offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3)
    except Exception:  # A folder may say nothing, in several ways.
        return
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3) * 20
    fitting = [
        kind
        for kind in PREPROCESSING_KINDS
        if np.allclose(build_preprocessing(kind, 2)(pixels), pixels * scale + offset, atol=1e-3)
    ]
    if backbone.preprocessing not in fitting:
        use = f"use {fitting[0]}" if fitting else "none of the known ones is the same"
        raise PipelineError(
            f"backbone.preprocessing: {backbone.preset} was pretrained with another one than {backbone.preprocessing}; {use}"
        )


def _convolutional(network: Any, image_size: Size) -> keras.Model:
    """Return a network of convolutions for an image size, in which KerasHub's layers are replaced by their parts."""
    try:
        flat = keras.Model(network.inputs[0], network.outputs[0])
        weights = {id(weight) for weight in flat.weights}
        while not all(_is_plain(layer) for layer in flat.layers):
            flat = _rewired(flat, flat.input_shape[1:])
        flat = _rewired(flat, (*height_width(image_size), 3))
        kept = {id(weight) for weight in flat.weights} == weights
    except Exception:  # From a network for other inputs, or a layer that is more than a composition of others.
        kept = False
    if not kept or len(network.outputs) > 1 or len(flat.output_shape) != 4:
        raise PipelineError(
            f"backbone.preset: {type(network).__name__} is not supported: it is not for images alone, or its layers have weights of their own; "
            "choose another preset (docs/recipes.md, Backbones)"
        )
    return flat


def _rewired(model: keras.Model, shape: tuple[int | None, ...]) -> keras.Model:
    """Return a model that shares the layers of `model`, in which each layer of KerasHub is replaced by those inside."""
    twin = keras.models.clone_model(
        model,
        input_tensors=layers.Input(shape),
        clone_function=lambda layer: layer,
        call_function=lambda layer, *args, **kwargs: (layer if _is_plain(layer) else layer.call)(*args, **kwargs),
    )
    return keras.Model(twin.inputs[0], twin.outputs[0])


def _is_plain(layer: keras.Operation) -> bool:
    return type(layer).__module__.partition(".")[0] == "keras"
