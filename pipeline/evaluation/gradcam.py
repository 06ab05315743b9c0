"""Grad-CAM at the backbone's last feature maps.

Source: R. R. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization, 2017.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.models.classifier import BACKBONE, HEAD, POOLING, PREPROCESSING

_BATCH = 16


def heatmaps(
    model: keras.Model,
    images: np.ndarray,
    targets: np.ndarray,
    feature_maps: Callable[[np.ndarray], tf.Tensor] | None = None,
) -> np.ndarray:
    """Compute how much each place of an image counts for a class.

    Gradients are those of the class's logit; its probability hardly changes where the model is sure. Every backbone is
    a layer of the classifier and ends in feature maps, so one way serves all, however deeply its own layers are nested.

    Args:
        model: as `pipeline.models.classifier.build_classifier` makes it.
        images: uint8 [n, size, size, 3].
        targets: class indices, int [n].
        feature_maps: function from images to the backbone's last feature maps [b, h, w, c]; the model's own layers by
            default.

    Returns:
        float32 [n, size, size] in 0 to 1, with a maximum of 1 in each image; all 0 where no place counts for the class.
    """
    feature_maps = feature_maps or (lambda batch: _feature_maps(model, batch))
    maps = [
        _maps(model, feature_maps(images[start : start + _BATCH]), targets[start : start + _BATCH])
        for start in range(0, len(images), _BATCH)
    ]
    side = images.shape[1]
    return np.stack([_resize(each, side) for each in np.concatenate(maps)])


def _feature_maps(model: keras.Model, images: np.ndarray) -> tf.Tensor:
    return model.get_layer(BACKBONE)(model.get_layer(PREPROCESSING)(images), training=False)


def _maps(model: keras.Model, features: tf.Tensor, targets: np.ndarray) -> np.ndarray:
    """Grad-CAM at the feature maps' own size: float32 [b, h, w], at least 0."""
    features = tf.cast(features, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = _logits(model.get_layer(HEAD), model.get_layer(POOLING)(features))
        target_logits = tf.gather(logits, targets, axis=1, batch_dims=1)
    channels = tf.reduce_mean(tape.gradient(target_logits, features), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(channels * features, axis=-1)).numpy()


def _logits(head: keras.Model, features: tf.Tensor) -> tf.Tensor:
    """Inputs of the head's softmax: [b, classes]."""
    for layer in head.layers[:-1]:
        features = layer(features, training=False)
    last = head.layers[-1]
    return tf.matmul(features, last.kernel) + last.bias


def _resize(heatmap: np.ndarray, side: int) -> np.ndarray:
    # Bilinear, since smoother interpolation overshoots and highlights places that do not count.
    values = np.asarray(Image.fromarray(heatmap.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))
    highest = values.max()
    return values / highest if highest > 0 else values
