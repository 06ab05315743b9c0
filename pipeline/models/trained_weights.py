"""Weights of a backbone that are taken from a trained model, of this pipeline or of plain Keras."""

from collections.abc import Iterator

import keras
import numpy as np
from keras import layers

from pipeline.config import BackboneConfig
from pipeline.config.size import size_of, size_text
from pipeline.models.preprocessing import PREPROCESSING, build_preprocessing
from pipeline.models.vision_transformer import patch_grid
from pipeline.system.errors import PipelineError


def take_weights(backbone: keras.Model, trained: keras.Model, settings: BackboneConfig, origin: str) -> None:
    """Give a backbone the weights that its layers have in a trained model, whose other layers are not used.

    Args:
        backbone: Backbone to change in place.
        trained: Model that contains this backbone, as a nested model or with its layers, at any image size.
        settings: Settings of the backbone.
        origin: Path of the model, for messages.

    Raises:
        PipelineError: The model has another backbone, another preprocessing, or positions for another image size.
    """
    _check_positions(backbone, trained, origin)
    own, theirs = list(_with_weights(backbone)), list(_with_weights(trained))
    for found in _candidates(own, theirs):
        if _shapes(found) == _shapes(own):
            break
    else:
        raise PipelineError(
            f"backbone.weights: the model {trained.name} in {origin} has other layers than backbone={settings.name}; "
            "choose the backbone that it was trained with"
        )
    _check_preprocessing(trained, settings.preprocessing, origin)
    for layer, source in zip(own, found, strict=True):
        layer.set_weights(source.get_weights())
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()


def _check_positions(backbone: keras.Model, trained: keras.Model, origin: str) -> None:
    nested = [trained, *(layer for layer in trained.layers if hasattr(layer, "layers"))]
    grid = next(filter(None, map(patch_grid, nested)), None)
    if grid and patch_grid(backbone) not in (None, grid):
        size = size_of(*trained.input_shape[1:3])
        raise PipelineError(
            f"backbone.weights: the model in {origin} has a position for each patch of images of {size_text(size)}; "
            f"use image_size={str(size).replace(' ', '')}"
        )


def _with_weights(model: keras.Model) -> Iterator[layers.Layer]:
    """Yield the layers that have weights, in the order of the network, with those of nested models."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _with_weights(layer)
        elif layer.weights:
            yield layer


def _candidates(own: list[layers.Layer], theirs: list[layers.Layer]) -> Iterator[list[layers.Layer]]:
    """Yield lists of layers that may be those of the backbone: by their names, or else by their order."""
    by_name = {layer.name: layer for layer in theirs}
    if all(layer.name in by_name for layer in own):
        yield [by_name[layer.name] for layer in own]
    # Keras numbers unnamed layers over all networks of a process, so that their names may differ.
    for start in range(len(theirs) - len(own) + 1):
        yield theirs[start : start + len(own)]


def _shapes(found: list[layers.Layer]) -> list[tuple[type, list[tuple[int, ...]]]]:
    return [(type(layer), [weight.shape for weight in layer.weights]) for layer in found]


def _check_preprocessing(trained: keras.Model, kind: str, origin: str) -> None:
    if PREPROCESSING not in [layer.name for layer in trained.layers]:
        return
    height, width = trained.input_shape[1:3]
    pixels = np.random.default_rng(1).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    own = build_preprocessing(kind, size_of(height, width))
    if not np.allclose(trained.get_layer(PREPROCESSING)(pixels), own(pixels), atol=1e-4):
        raise PipelineError(
            f"backbone.preprocessing: the model in {origin} was trained with another one than {kind}; remove this setting"
        )
