"""Vectors that describe images: the input of a classifier's last layer."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.config.image import Decoding
from pipeline.models.classifier import BACKBONE, HEAD, PREPROCESSING, build_classifier
from pipeline.models.description import read_decoding
from pipeline.models.parts import FrozenPart
from pipeline.models.precision import frozen_arithmetic
from pipeline.models.saving import load_classifier
from pipeline.stages.settings import Places
from pipeline.tracking.initial_weights import with_weights_file
from pipeline.training.cross_validation import chunks
from pipeline.training.features import open_images
from pipeline.training.hardware import set_up


class Embedder:
    """Network from images to vectors: features of the backbone, or of the hidden layer of a head that has one."""

    def __init__(self, model: keras.Model, config: Config, decoding: Decoding):
        """Take the network of a classifier.

        Args:
            model: Classifier from `build_classifier`, or a saved one.
            config: Configuration with the backbone of `model`, and the precision in which it computes.
            decoding: Decoding of files to the network's input.
        """
        self.decoding = decoding
        self._config = replace(config, image_size=decoding.size)
        arithmetic = frozen_arithmetic(config.hardware.precision)
        self._part = FrozenPart(model.get_layer(PREPROCESSING), model.get_layer(BACKBONE), arithmetic, pooled=True)
        self._hidden = model.get_layer(HEAD).layers[:-1]

    @property
    def width(self) -> int:
        """Number of values in a vector."""
        return self._hidden[-1].output.shape[-1] if self._hidden else self._part.shape[0]

    @classmethod
    def of_backbone(cls, config: Config) -> "Embedder":
        """Return the embedder of the configured pretrained backbone.

        Raises:
            PipelineError: Its weights are not available.
        """
        _set_up(config)
        plain = replace(config.train, hidden_units=0)
        model = build_classifier(with_weights_file(config).backbone, plain, config.image_size, 2)
        return cls(model, config, Decoding.of(config.image_size, config.image))

    @classmethod
    def of_classifier(cls, file: Path, config: Config) -> "Embedder":
        """Return the embedder of a saved classifier.

        Args:
            file: The classifier.
            config: Configuration of its experiment.

        Raises:
            PipelineError: The file is not a classifier of this pipeline.
        """
        _set_up(config)
        return cls(load_classifier(file)[0], config, read_decoding(file))

    def of_pixels(self, images: np.ndarray) -> np.ndarray:
        """Return the vectors, float32 [b, d], of RGB images, uint8 [b, h, w, 3]."""
        return self._above(self._part.from_pixels(images).numpy())

    def of_rows(self, rows: pd.DataFrame, places: Places) -> np.ndarray:
        """Return the vectors, float32 [n, d], of images in the manifest, computed from the features that are cached.

        Args:
            rows: Rows of the manifest: those of training and validation, or of test, of which stages cache features.
            places: Folder of the images, and the cache.
        """
        features = open_images(rows, places.images, self._config, places.cache, title="decoding")
        indices = np.arange(len(rows))
        if features.fits(self._part, len(rows)):
            return self._above(features.pooled(self._part)(indices))
        return np.concatenate([self.of_pixels(features.images.take(chunk)) for chunk in chunks(indices)])

    def _above(self, features: np.ndarray) -> np.ndarray:
        x = features
        for layer in self._hidden:
            x = layer(x, training=False)
        return np.asarray(x, np.float32)


def _set_up(config: Config) -> None:
    # The keys of cached features depend on the threads of the experiment.
    set_up(replace(config.hardware, strategy="one_device"), config.seed)
