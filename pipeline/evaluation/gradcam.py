"""Grad-CAM heat maps, computed at the last feature maps of the backbone that are large enough to show places.

Source: R. R. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization, 2017.
"""

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.models.classifier import BACKBONE, HEAD, POOLING, PREPROCESSING
from pipeline.models.graph import cut_points
from pipeline.models.vision_transformer import below_last_block, patch_grid

_BATCH = 16
# Side in cells of the smallest feature maps that say something about places.
_MIN_CELLS = 5


def heatmaps(
    model: keras.Model,
    images: np.ndarray,
    targets: np.ndarray,
    feature_maps: Callable[[np.ndarray], tf.Tensor] | None = None,
) -> np.ndarray:
    """Compute the Grad-CAM heat map of one class for each image.

    Gradients are taken of the class's logit, because the probability of a confident prediction hardly changes. Every
    backbone is one layer of the classifier that outputs feature maps, so the same code works for all backbones. If its
    last feature maps are smaller than 5 x 5 cells, those of the last earlier cut that are not are used instead. For a
    vision transformer, these are its patches before the last block, from which the class token may still take
    something.

    Args:
        model: Classifier built by `pipeline.models.classifier.build_classifier`.
        images: RGB images, uint8 [n, height, width, 3].
        targets: Class index for each image, int [n].
        feature_maps: Function from images to the last feature maps of the backbone, [b, h, w, c]. By default, they are
            computed by the layers of `model`.

    Returns:
        Heat maps, float32 [n, height, width] in [0, 1], each with maximum 1; all 0 if no region supports the class.
    """
    backbone, preprocessing = model.get_layer(BACKBONE), model.get_layer(PREPROCESSING)
    cut, end = _explained(backbone), backbone.outputs[0]
    upper = None if cut is end else keras.Model(cut, end)
    if upper or not feature_maps:
        lower = keras.Model(backbone.inputs[0], cut) if upper else backbone
        feature_maps = lambda batch: lower(preprocessing(batch), training=False)  # noqa: E731
    maps = []
    for start in range(0, len(images), _BATCH):
        batch = slice(start, start + _BATCH)
        maps.append(_maps(model, feature_maps(images[batch]), targets[batch], upper))
    height, width = images.shape[1:3]
    return np.stack([_resize(each, (width, height)) for each in np.concatenate(maps)])


def map_cells(model: keras.Model) -> tuple[int, int]:
    """Return the numbers of rows and columns of the feature maps that heat maps are computed from."""
    backbone = model.get_layer(BACKBONE)
    if grid := patch_grid(backbone):
        return grid
    rows, columns = _explained(backbone).shape[1:3]
    return rows, columns


def _explained(backbone: keras.Model) -> keras.KerasTensor:
    """Return the last cut with at least 5 x 5 cells above the input, or the output if there is none.

    Of a vision transformer, it is the cut below the last block.
    """
    inputs = backbone.inputs[0]
    if patch_grid(backbone):
        return below_last_block(backbone)
    cuts = [tensor for _, tensor in cut_points(backbone) if tensor is not None and tensor is not inputs]
    large = [tensor for tensor in cuts if len(tensor.shape) == 4 and min(tensor.shape[1:3]) >= _MIN_CELLS]
    return large[-1] if large else backbone.outputs[0]


def _maps(model: keras.Model, features: tf.Tensor, targets: np.ndarray, upper: keras.Model | None) -> np.ndarray:
    """Compute nonnegative Grad-CAM heat maps in the resolution of the feature maps, float32 [b, h, w]."""
    features = tf.cast(features, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        last = features if upper is None else tf.cast(upper(features, training=False), tf.float32)
        logits = _logits(model.get_layer(HEAD), model.get_layer(POOLING)(last))
        target_logits = tf.gather(logits, targets, axis=1, batch_dims=1)
    gradients = tape.gradient(target_logits, features)
    if grid := patch_grid(model.get_layer(BACKBONE)):
        # The tokens of the patches are the last ones.
        features, gradients = (
            tf.reshape(each[:, -math.prod(grid) :], (-1, *grid, each.shape[-1])) for each in (features, gradients)
        )
    channels = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(channels * features, axis=-1)).numpy()


def _logits(head: keras.Model, features: tf.Tensor) -> tf.Tensor:
    """Compute the logits, which are the inputs of the head's softmax, [b, classes]."""
    for layer in head.layers[:-1]:
        features = layer(features, training=False)
    last = head.layers[-1]
    return tf.matmul(features, last.kernel) + last.bias


def _resize(heatmap: np.ndarray, extent: tuple[int, int]) -> np.ndarray:
    # Bilinear, because smoother interpolation overshoots and highlights irrelevant regions.
    values = np.asarray(Image.fromarray(heatmap.astype(np.float32)).resize(extent, Image.Resampling.BILINEAR))
    highest = values.max()
    return values / highest if highest > 0 else values
