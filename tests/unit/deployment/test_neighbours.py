"""The training images beside a prediction are the nearest by the cosine of their vectors."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from pipeline import predict
from pipeline.config import compose as composition
from pipeline.config.image import Decoding
from pipeline.deployment.embedder import Embedder
from pipeline.deployment.neighbours import NeighbourSearch
from pipeline.inputs.decoding import pixels
from tests.support.in_process import call
from tests.support.training import context_of, places, prepared


@pytest.fixture
def config(configure):
    made = configure("backbone=mobilenet_v3_small", "backbone.weights=random", "hardware.precision=float32")
    context_of(made)
    return made


def test_the_nearest_training_images_come_first(config):
    manifest, embedder = prepared(config), Embedder.of_backbone(config)
    rows, folder = manifest.rows, places(config).images
    images = np.stack([pixels((folder / path).read_bytes(), Decoding(32)) for path in rows["path"]])
    vectors = embedder.of_pixels(images).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    training = np.flatnonzero(rows["split"] == "train")
    found = NeighbourSearch(embedder, manifest, places(config), 3)(images)
    for place in range(len(rows)):
        cosines = vectors[training] @ vectors[place]
        assert [each.similarity for each in found[place]] == pytest.approx(sorted(cosines)[:-4:-1], abs=1e-4)
        named = rows.set_index(str(folder) + "/" + rows["path"])
        assert all(named.loc[each.path, "split"] == "train" for each in found[place])
        assert all(named.loc[each.path, "label"] == each.label for each in found[place])
    first = training[0]
    assert (found[first][0].path, found[first][0].similarity) == (str(folder / rows["path"][first]), pytest.approx(1))


def test_fewer_training_images_than_neighbours_are_all_listed(config):
    manifest = prepared(config)
    count = len(manifest.split("train"))
    found = NeighbourSearch(Embedder.of_backbone(config), manifest, places(config), 1000)(
        np.zeros((2, 32, 32, 3), np.uint8)
    )
    assert [len(each) for each in found] == [count, count]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_have_neighbours_with_path_class_and_similarity(own_experiment, tmp_path, monkeypatch, form):
    monkeypatch.setattr(composition, "PARAMS", tmp_path / "params.yaml")
    uri = own_experiment.config.tracking.uri
    (tmp_path / "params.yaml").write_text(f"cache_folder: {tmp_path}/cache\ntracking: {{uri: '{uri}'}}\n")
    manifest = pd.read_parquet(own_experiment.root / "prepare" / "manifest.parquet")
    folder = own_experiment.config.dataset.path
    file = f"{folder}/{manifest.loc[manifest['split'] == 'train', 'path'].iloc[0]}"
    (tmp_path / "text.png").write_text("no image")
    out = tmp_path / "rows"
    arguments = [str(own_experiment.root), file, str(tmp_path / "text.png"), "--neighbours", "2", "--format", form]
    assert call(predict.main, *arguments, "--out", str(out)) is None
    if form == "csv":
        row, unreadable = csv.DictReader(io.StringIO(out.read_text()))
        assert list(row)[-6:] == ["neighbour", "neighbour_class", "similarity", "neighbour_2", "neighbour_class_2", "similarity_2"]  # fmt: skip
        assert (row["neighbour"], row["neighbour_class"]) == (file, row["class"])
        assert float(row["similarity"]) == pytest.approx(1, abs=1e-3)
        assert float(row["similarity_2"]) <= float(row["similarity"])
        assert unreadable["neighbour"] == ""
    else:
        row, unreadable = map(json.loads, out.read_text().splitlines())
        assert [set(each) for each in row["neighbours"]] == [{"path", "class", "similarity"}] * 2
        assert row["neighbours"][0]["path"] == file
        assert unreadable["error"]


def test_a_classifier_of_unknown_origin_has_no_neighbours(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    said = call(predict.main, str(trained.file), str(trained.files[0]), "--neighbours", "2")
    assert "its experiment is unknown, and so are its training images" in said
