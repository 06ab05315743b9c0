"""A small trained classifier, and the images it knows."""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.deployment.classifier import Classifier, load
from pipeline.deployment.find_model import ModelReference
from pipeline.inputs.decoding import pixels
from pipeline.models.classifier import build_classifier
from pipeline.models.saving import save_classifier
from tests.support.images import COLOURS

CLASSES = list(COLOURS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, images) -> SimpleNamespace:
    """`file` of a classifier of colours, `files` of the images that it learned from."""
    keras.utils.set_random_seed(1)
    files = sorted(images.rglob("*.png"))
    pixels_of_files = np.stack([pixels(file.read_bytes(), 32) for file in files])
    labels = np.array([CLASSES.index(file.parent.name) for file in files])
    config = check(composed(["backbone=scratch_cnn", "backbone.weights=random"]))
    model = build_classifier(config.backbone, config.train, 32, 3)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(pixels_of_files, labels, batch_size=12, epochs=6, verbose=0)
    file = tmp_path_factory.mktemp("classifier") / "model.keras"
    save_classifier(model, CLASSES, file)
    return SimpleNamespace(file=file, files=files)


@pytest.fixture
def classifier(trained) -> Classifier:
    return load(ModelReference(Path(trained.file), "a test"))
