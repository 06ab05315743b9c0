"""Vectors of files and data sets: what the network computes below its last layer."""

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import embed
from pipeline.config.image import Decoding
from pipeline.deployment.embedder import Embedder
from pipeline.deployment.embeddings import embed_data_set, embed_files
from pipeline.inputs.decoding import pixels
from pipeline.models.classifier import build_classifier
from pipeline.models.saving import save_classifier
from tests.support.in_process import call
from tests.support.training import context_of, places, prepared, run_stages


def below_the_last_layer(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Float32 [b, d], by Keras itself."""
    x = images
    for name in ("preprocessing", "backbone", "pooling"):
        x = model.get_layer(name)(x, training=False)
    for layer in model.get_layer("head").layers[:-1]:
        x = layer(x, training=False)
    return np.asarray(x)


@pytest.mark.parametrize("hidden_units", [0, 7])
def test_vectors_of_files_are_the_inputs_of_the_last_layer(configure, trained, tmp_path, hidden_units):
    config = configure("backbone=mobilenet_v3_small", "backbone.weights=random", "hardware.precision=float32")
    config.train.hidden_units = hidden_units
    context_of(config)
    model = build_classifier(config.backbone, config.train, 32, 3)
    save_classifier(model, ["a", "b", "c"], tmp_path / "model.keras")
    broken = tmp_path / "broken-\udcff.png"
    broken.write_text("no image")
    files = [str(trained.files[0]), str(broken), str(trained.files[1])]
    embedder = Embedder.of_classifier(tmp_path / "model.keras", config)
    assert embed_files(files, embedder, tmp_path / "vectors.parquet") == 1
    assert pq.read_schema(tmp_path / "vectors.parquet").field("vector").type == pa.list_(pa.float32())
    table = pd.read_parquet(tmp_path / "vectors.parquet")
    assert table["path"].tolist() == [files[0], str(tmp_path / "broken-\\xff.png"), files[2]]
    assert table["error"].dropna().to_dict() == {1: "not an image in a known format"}
    assert table["label"].isna().all()
    assert table["vector"].isna().tolist() == [False, True, False]
    expected = below_the_last_layer(
        model, np.stack([pixels(file.read_bytes(), Decoding(32)) for file in trained.files[:2]])
    )
    assert expected.shape == (2, hidden_units or 576)
    np.testing.assert_allclose(np.stack(table["vector"][[0, 2]]), expected, rtol=1e-3, atol=1e-5)


def test_vectors_of_a_data_set_come_from_the_features_of_phase_1(configure, tmp_path):
    config = configure("backbone=mobilenet_v3_small", "backbone.weights=random", "augment=none", "train.epochs=1")
    context_of(config)
    run_stages(config, tmp_path, "prepare", "train")
    before = {entry.folder.name for entry in places(config).cache.listing() if entry.holds["kind"] == "frozen"}
    embed_data_set(tmp_path / "prepare", Embedder.of_backbone(config), places(config), tmp_path / "vectors.parquet")
    added = [
        entry.holds["rows"]
        for entry in places(config).cache.listing()
        if entry.holds["kind"] == "frozen" and entry.folder.name not in before
    ]
    manifest = prepared(config)
    # Those of the test images, which phase 1 does not read.
    assert added == [len(manifest.split("test"))]
    table = pd.read_parquet(tmp_path / "vectors.parquet").set_index("path")
    assert (
        table[["label", "split"]].sort_index().equals(manifest.rows.set_index("path")[["label", "split"]].sort_index())
    )
    assert np.isfinite(np.stack(table["vector"])).all()


def test_the_data_set_of_a_classifier_is_that_of_its_experiment(own_experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = [f"tracking.uri={own_experiment.config.tracking.uri}", f"cache_folder={tmp_path}/cache"]
    assert call(embed.main, str(own_experiment.root), *own) is None
    table = pd.read_parquet(tmp_path / "embeddings.parquet")
    assert table["split"].value_counts().to_dict() == pd.read_parquet(own_experiment.root / "prepare" / "manifest.parquet")["split"].value_counts().to_dict()  # fmt: skip
    vectors = np.stack(table["vector"])
    assert vectors.shape == (len(table), 1280)
    # Images of one colour are near each other.
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    nearest = (centred @ centred.T - 2 * np.eye(len(table))).argmax(axis=1)
    assert (table["label"].to_numpy()[nearest] == table["label"].to_numpy()).mean() > 0.9


def test_a_classifier_of_unknown_origin_needs_images(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "its experiment is unknown" in call(embed.main, str(trained.file), f"tracking.uri=sqlite:///{tmp_path}/m.db")
    assert not (tmp_path / "embeddings.parquet").exists()
