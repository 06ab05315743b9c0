"""The report of the real stages, and its map of the test images."""

import html
import re
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist

from pipeline.config.image import Decoding
from pipeline.inputs.decoding import pixels
from pipeline.models.classifier import POOLING
from pipeline.models.saving import load_classifier


def test_the_report_is_one_file_that_loads_nothing_and_shows_the_result(experiment):
    page = (experiment.root / "report" / "report.html").read_text()
    links = re.findall(r"(?:src|href)=[\"']([^\"']*)", page)
    assert all(link.startswith(("data:", "#")) for link in links), links
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "<script" not in page
    metrics = experiment.json("evaluate", "metrics.json")
    assert f"{metrics[metrics['best']]['accuracy']:.4f}" in page
    assert "McNemar" in page
    assert page.count('class="chart"') >= 4
    assert "python -m pipeline dataset=folder dataset.path=..." in page
    predictions = pd.read_parquet(experiment.root / "evaluate" / "predictions.parquet")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    shown = [path for path in predictions["path"] if any(path in caption for caption in captions)]
    assert len(shown) == min(12, experiment.config.evaluate.gallery)
    titles = [html.unescape(title) for title in re.findall(r"<circle[^>]*><title>(.*?)</title>", page)]
    wrong = predictions["label"] != predictions["prediction"]
    expected = predictions["path"] + ": " + predictions["label"]
    expected += (", predicted " + predictions["prediction"]).where(wrong, "")
    assert sorted(titles) == sorted(expected)


def test_the_map_has_the_features_that_the_head_classifies(experiment):
    best = experiment.json("evaluate", "metrics.json")["best"]
    model, classes = load_classifier(experiment.root / best / "model.keras")
    with np.load(experiment.root / "evaluate" / "vectors.npz") as arrays:
        indices, predicted, vectors = arrays["indices"], arrays["predicted"], arrays["vectors"]
    predictions = pd.read_parquet(experiment.root / "evaluate" / "predictions.parquet")
    assert indices.tolist() == list(range(len(predictions)))
    assert [classes[each] for each in predicted] == predictions["prediction"].tolist()
    # Principal components keep the distances between images, as far as their number suffices.
    pooled = keras.Model(model.inputs, model.get_layer(POOLING).output)
    decoding = Decoding.of(32, experiment.config.image)
    files = [Path(experiment.config.dataset.path, path) for path in predictions["path"]]
    features = pooled.predict(np.stack([pixels(file.read_bytes(), decoding) for file in files]), verbose=0)
    assert pdist(vectors) == pytest.approx(pdist(features), rel=0.1, abs=0.05 * pdist(features).max())


def test_shown_images_have_the_most_similar_training_images(experiment):
    gallery, table = (pd.read_csv(experiment.root / "evaluate" / f"{name}.csv") for name in ("gallery", "neighbours"))
    shown = gallery["path"].tolist()
    assert table["path"].tolist() == [path for path in shown for _ in range(3)]
    manifest = pd.read_parquet(experiment.root / "prepare" / "manifest.parquet")
    training = manifest[manifest["split"] == "train"].set_index("path")
    assert table["label"].tolist() == training.loc[table["neighbour"], "label"].tolist()

    model, _ = load_classifier(experiment.root / "train" / "model.keras")
    decoding = Decoding.of(32, experiment.config.image)

    def directions(paths) -> np.ndarray:
        files = [Path(experiment.config.dataset.path, path) for path in paths]
        pooled = keras.Model(model.inputs, model.get_layer(POOLING).output)
        vectors = pooled.predict(np.stack([pixels(file.read_bytes(), decoding) for file in files]), verbose=0)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    similarities = pd.DataFrame(directions(shown) @ directions(training.index).T, shown, training.index)
    for path, own in table.groupby("path")["neighbour"]:
        # The backbone computes in the precision of its cached features.
        assert similarities.loc[path, own].to_numpy() == pytest.approx(
            -np.sort(-similarities.loc[path].to_numpy())[:3], abs=0.01
        )
    page = (experiment.root / "report" / "report.html").read_text()
    assert page.count('class="near"') == len(shown)
    assert re.findall(r'<span title="([^"]+)">', page) == table["neighbour"].tolist()
