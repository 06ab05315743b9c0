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
