"""A data set of 12 bits in files of 16: training and prediction see the same pixels as in files of 8 bits."""

import base64
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.image import Decoding
from pipeline.deployment.classifier import load
from pipeline.deployment.demo import predict_upload
from pipeline.deployment.exports.parity import decode_files
from pipeline.deployment.predictions import predict
from pipeline.deployment.serving import ServedClassifier
from pipeline.inputs.decoding import pixels
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import read_manifest
from pipeline.models.description import read_decoding
from pipeline.storage.cache import Cache
from pipeline.tracking.classifier_files import ModelReference
from tests.support.experiments import run_stages
from tests.support.images import COLOURS, draw
from tests.support.png import encode


@pytest.fixture
def deep(tmp_path) -> Path:
    folder = tmp_path / "deep"
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(8):
            samples = np.asarray(draw(colour, number), np.uint16) * 16 + number
            (folder / name / f"{number}.png").write_bytes(encode(samples))
    return folder


def test_the_depth_goes_with_the_manifest_and_the_model(deep, configure, tmp_path):
    config = configure(f"dataset.path={deep}", "backbone=scratch_cnn", "train.epochs=1", "finetune.epochs=1")
    root = tmp_path / "job"
    run_stages(config, root, "finetune")
    manifest = read_manifest(root / "prepare")
    assert manifest.depth == 12
    rows = manifest.split("train", "validation")
    trained = DecodedImages(deep, rows, Decoding(32, 12), Cache(tmp_path / "other"), budget_gib=1, title="test")
    seen = trained.take(np.arange(len(rows)))
    eight_bits = np.stack(
        [
            np.asarray(draw(COLOURS[Path(path).parent.name], int(Path(path).stem)).resize((32, 32), 2))
            for path in rows["path"]
        ]
    )
    assert np.abs(seen.astype(int) - eight_bits).max() <= 2
    for phase in ("train", "finetune"):
        assert read_decoding(root / phase / "model.keras") == Decoding(32, 12, "crop")
    classifier = load(ModelReference(root / "finetune" / "model.keras", "a test"))
    expected = classifier.probabilities(seen)
    files = [str(deep / path) for path in rows["path"]]
    [found] = predict(files, classifier, 64)
    assert np.array_equal(np.stack([each.image for each in found]), seen)
    assert np.array_equal(decode_files([Path(file) for file in files], classifier.decoding), seen)
    served = ServedClassifier(classifier).predict(
        pd.DataFrame({"image": [base64.b64encode(Path(file).read_bytes()).decode() for file in files]})
    )
    assert served["probability"].to_numpy() == pytest.approx(expected.max(axis=1), abs=1e-6)
    shown = predict_upload(classifier, Path(files[0]).read_bytes())
    assert shown["guesses"][0][1] == pytest.approx(expected[0].max(), abs=1e-5)
    description = classifier.description()
    assert description["depth"] == 12
    assert "4095 becomes 255" in description["decoding"][2]
    (tmp_path / "deeper.png").write_bytes(encode(np.full((40, 40, 3), 60_000, np.uint16)))
    [[refused]] = predict([str(tmp_path / "deeper.png")], classifier, 1)
    assert refused.error.startswith("16-bit samples, but the training images have 12 bits")
    # A file of 8 bits is used as it is.
    draw((200, 50, 40), 3).save(tmp_path / "plain.png")
    [[plain]] = predict([str(tmp_path / "plain.png")], classifier, 1)
    assert np.array_equal(plain.image, pixels((tmp_path / "plain.png").read_bytes(), Decoding(32)))
