"""Training of a head on features of unit scale, so that learning rates mean the same for all backbones."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf


class FeatureScale(keras.layers.Layer):
    """Layer that multiplies features, [b, features], by one number, which is 1 except during training."""

    def build(self, _input_shape: tuple[int | None, ...]) -> None:
        """Create the number."""
        self.factor = self.add_weight(shape=(), initializer="ones", trainable=False, name="factor")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the scaled features."""
        return inputs * self.factor


@contextmanager
def unit_scale(trainable: keras.Model, features: np.ndarray) -> Iterator[None]:
    """Train a new head on features scaled to a mean square of 1 within a block; its kernel then contains the scale.

    Args:
        trainable: Model that begins with a `FeatureScale`, followed by a new head.
        features: Example features, [n, features].
    """
    scale, head = trainable.layers
    kernel = next(layer for layer in head.layers if isinstance(layer, keras.layers.Dense)).kernel
    size = float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    factor = 1 / size if np.isfinite(size) and size > 0 else 1.0
    scale.factor.assign(factor)
    try:
        yield
    finally:
        scale.factor.assign(1.0)
        kernel.assign(kernel * factor)
