"""A small trained classifier, the images it knows, and the classifier as it is logged to MLflow."""

from pathlib import Path
from types import SimpleNamespace

import keras
import mlflow
import numpy as np
import pytest

from pipeline.config.compose import composed, configuration
from pipeline.config.image import Decoding
from pipeline.config.validate import check
from pipeline.deployment.classifier import Classifier, load
from pipeline.deployment.find_model import find_model
from pipeline.deployment.predictions import predict
from pipeline.inputs.decoding import pixels
from pipeline.models.classifier import build_classifier
from pipeline.models.saving import save_classifier
from pipeline.tracking.classifier_files import ModelReference
from pipeline.tracking.logged_model import log_model
from tests.support.images import COLOURS

CLASSES = list(COLOURS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, images) -> SimpleNamespace:
    """`file` of a classifier of colours, `files` of the images that it learned from."""
    keras.utils.set_random_seed(1)
    files = sorted(images.rglob("*.png"))
    pixels_of_files = np.stack([pixels(file.read_bytes(), Decoding(32)) for file in files])
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


@pytest.fixture(scope="module")
def logged(trained, tmp_path_factory, empty_store):
    """A classifier logged as evaluate logs it, calibrated; `uri` of the store, `run_id`."""
    folder = tmp_path_factory.mktemp("logged")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("served", (folder / "artifacts").as_uri()))
    with mlflow.start_run() as run:
        log_model(trained.file, "model", temperature=1.5, applied=True)
    return SimpleNamespace(uri=uri, run_id=run.info.run_id, address=f"runs:/{run.info.run_id}/model")


@pytest.fixture(scope="module")
def expected(logged, trained):
    """The answers that predict gives of the logged model, by file."""
    classifier = load(find_model(logged.address, configuration([f"tracking.uri={logged.uri}"])))
    assert classifier.calibration.temperature == 1.5
    [batch] = predict([str(file) for file in trained.files], classifier, 64)
    return {
        str(file): (classifier.classes[each.probabilities.argmax()], each.probabilities)
        for file, each in zip(trained.files, batch, strict=True)
    }
