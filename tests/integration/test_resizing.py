"""Images are resized in one way in all places: training, evaluation, predictions, serving, exports and the demo.

Only the ends of the images tell their class. What a model learns shows what it has seen.
"""

import base64
import io
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.api import open_run
from pipeline.config import Config, ExportConfig
from pipeline.config.image import RESIZE, Decoding
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.demo import predict_upload
from pipeline.deployment.exports.export import export_classifier
from pipeline.deployment.exports.formats import FORMATS
from pipeline.deployment.exports.parity import decode_files, folder_sample
from pipeline.deployment.predictions import predict
from pipeline.inputs.decoding import pixels
from pipeline.inputs.manifest import read_manifest
from pipeline.jobs.stage import places_of
from pipeline.models.description import read_decoding
from pipeline.stages import find_lr
from pipeline.storage.files import read_json
from pipeline.training.features import training_data
from pipeline.visuals.pages import data_uri
from tests.support.experiments import run_stages

CLASSES = {"blue": (40, 60, 200), "red": (200, 50, 40)}
NUMBERS = {"train": range(30), "validation": range(30, 40), "test": range(40, 56)}
COLOUR = [10, 20, 30]
# Height and width, of the images' own proportions.
WIDE = [16, 32]
MARGINS = ExportConfig(name="test", images=64, tolerance=1e-4, int8_agreement=0.98, int8_images=20)


@pytest.fixture(scope="module")
def framed(tmp_path_factory) -> Path:
    """Images twice as wide as high. Those of one number have the same noise in the middle in both classes."""
    folder = tmp_path_factory.mktemp("framed") / "images"
    for split, numbers in NUMBERS.items():
        for name, colour in CLASSES.items():
            (folder / split / name).mkdir(parents=True)
            for number in numbers:
                image = np.random.default_rng(number).integers(0, 256, (32, 64, 3), dtype=np.uint8)
                image[:, :12] = image[:, -12:] = colour
                Image.fromarray(image).save(folder / split / name / f"{number}.png")
    return folder


def expected_pixels(file: Path, decoding: Decoding) -> np.ndarray:
    """What a network sees of an image: all of it in a rectangle of its proportions, or a square of 32 pixels."""
    image, resize = Image.open(file), decoding.resize
    if decoding.size == WIDE:
        return np.asarray(image.resize((32, 16), Image.Resampling.BILINEAR))
    if resize == "crop":
        return np.asarray(image.crop((16, 0, 48, 32)))
    if resize == "stretch":
        return np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    whole = np.full((32, 32, 3), COLOUR, np.uint8)
    whole[8:24] = image.resize((32, 16), Image.Resampling.BILINEAR)
    return whole


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return np.stack([[each[name] for name in CLASSES] for each in table["probabilities"]])


@pytest.mark.parametrize(
    ("resize", "size", "accuracy"),
    [("stretch", 32, 1.0), ("pad", 32, 1.0), ("crop", 32, 0.5), *((resize, WIDE, 1.0) for resize in RESIZE)],
)
def test_each_place_sees_what_the_model_was_trained_on(resize, size, accuracy, framed, configure, tmp_path):
    config = configure(
        f"image_size={size}", "backbone.min_image_size=16",
        f"dataset.path={framed}", f"image.resize={resize}", f"image.pad_value={COLOUR}", "backbone=scratch_cnn",
        "dataset.near_duplicates.find=false", "augment=none", "train.epochs=6", "train.learning_rate=3e-3", "finetune.epochs=1",
        "hardware.precision=float32", "evaluate.calibrate=false", "find_lr.steps=10",
    )  # fmt: skip
    root = tmp_path / "job"
    run_stages(config, root)

    check_cached_images(config, root, framed)

    # Evaluation: without the ends, the images of one number are the same in both classes.
    tested = pd.read_parquet(root / "evaluate" / "predictions.parquet")
    metrics = read_json(root / "evaluate" / "metrics.json")
    assert metrics[metrics["best"]]["accuracy"] == accuracy
    evaluated, files = np.stack(tested["probabilities"]), [framed / path for path in tested["path"]]

    model = root / metrics["best"] / "model.keras"
    assert read_decoding(model) == Decoding(size, 16, resize, COLOUR if resize == "pad" else None)
    run = open_run(root)
    classifier = run.classifier
    assert run.predict(files)["probability"].to_numpy() == pytest.approx(evaluated.max(axis=1), abs=1e-5)
    check_predictions(classifier, files, evaluated)

    # Serving, by MLflow.
    mlflow.set_tracking_uri(config.tracking.uri)
    address = f"runs:/{read_json(root / 'report' / 'run.json')['run_id']}/model"
    served = mlflow.pyfunc.load_model(address)
    for sent in ([*map(str, files)], [np.asarray(Image.open(file)) for file in files]):
        np.testing.assert_allclose(probabilities(served.predict(sent)), evaluated, atol=1e-5)
    assert served.metadata.metadata["decoding"] == classifier.description()["decoding"]
    [example] = served.input_example
    height, width, _ = classifier.decoding.shape
    assert Image.open(io.BytesIO(base64.b64decode(example["image"]))).size == (width, height)
    check_export(classifier, framed, files, tmp_path / "exports", evaluated)


def check_cached_images(config: Config, root: Path, framed: Path) -> None:
    """Those that training has used, and that the range test uses again."""
    places, manifest = places_of(config), read_manifest(root / "prepare")
    built = {each.folder for each in places.cache.listing()}
    rows = manifest.split("train", "validation")
    decoding = Decoding.of(config.image_size, config.image)
    seen = np.stack([expected_pixels(framed / path, decoding) for path in rows["path"]])
    data = training_data(manifest, framed, config, places.cache)
    assert np.array_equal(data.images.take(np.arange(len(rows))), seen)
    find_lr.run(config, "train", places, root)
    assert {each.folder for each in places.cache.listing()} == built


def check_predictions(classifier: Classifier, files: list[Path], evaluated: np.ndarray) -> None:
    """Of files on the command line, and of the demo."""
    [batch] = predict([*map(str, files)], classifier, 64)
    np.testing.assert_allclose(np.stack([each.probabilities for each in batch]), evaluated, atol=1e-5)
    for file, each, own in zip(files[::8], batch[::8], evaluated[::8], strict=True):
        expected = expected_pixels(file, classifier.decoding)
        assert np.array_equal(each.image, expected)
        shown = predict_upload(classifier, file.read_bytes())
        assert dict(shown["guesses"]) == pytest.approx(dict(zip(CLASSES, own, strict=True)), abs=1e-5)
        assert shown["image"] == data_uri(expected)


def check_export(classifier: Classifier, framed: Path, files: list[Path], out: Path, evaluated: np.ndarray) -> None:
    """An export agrees with the classifier on files, and says how they are decoded."""
    found = export_classifier(
        classifier, ["saved_model"], folder_sample(framed, classifier.classes, MARGINS), margins=MARGINS, folder=out
    )
    assert found["saved_model"]["same_class"] == 1
    description = read_json(out / "classifier.json")
    assert description == classifier.description()
    decoding = Decoding(
        description["image_size"], description["depth"], description["resize"], description.get("pad_value")
    )
    exported = FORMATS["saved_model"].implementation()(out / "saved_model")
    assert exported.description == description
    images = np.stack([pixels(file.read_bytes(), decoding) for file in files])
    assert np.array_equal(images, decode_files(files, classifier.decoding))
    np.testing.assert_allclose(exported.probabilities(images), evaluated, atol=1e-5)
