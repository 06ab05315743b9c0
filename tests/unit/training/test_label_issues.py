"""Labels that were exchanged come first in the list of doubtful ones."""

import logging

import numpy as np
import pandas as pd
import pytest

from pipeline.reports.evaluation import read_table
from pipeline.reports.review_pages import write_label_issues
from pipeline.training.label_issues import COLUMNS, cross_validate, rank
from tests.support.training import places, run_stages

COUNT, CLASSES = 300, 3


@pytest.fixture(scope="module")
def exchanged():
    """Features of three classes, of which one label in twenty is wrong; labels, and which are."""
    draws = np.random.default_rng(1)
    true = np.repeat(np.arange(CLASSES), COUNT // CLASSES)
    features = draws.standard_normal((COUNT, 40)).astype(np.float32)
    features[:, :CLASSES] += 3 * np.eye(CLASSES)[true]
    wrong = draws.permutation(COUNT)[: COUNT // 20]
    labels = true.copy()
    labels[wrong] = (true[wrong] + 1) % CLASSES
    return features, labels, true, wrong


def rows(count: int = COUNT) -> pd.DataFrame:
    return pd.DataFrame(
        {"path": [f"{number:03}.png" for number in range(count)], "label": "x", "split": "train", "group": None}
    )


def test_exchanged_labels_come_first_with_what_they_were(exchanged):
    features, labels, true, wrong = exchanged
    probabilities = cross_validate(features.__getitem__, labels, np.arange(COUNT), seed=1)
    table = rank(rows(), labels, probabilities, list("abc"))
    assert list(table) == COLUMNS
    assert len(table) == COUNT
    assert table["probability"].is_monotonic_increasing
    first = set(table["path"].head(COUNT // 10))
    assert len(first & {f"{number:03}.png" for number in wrong}) >= 0.9 * len(wrong)
    suggested = table.set_index("path")["suggested"]
    assert np.mean([suggested[f"{number:03}.png"] == "abc"[true[number]] for number in wrong]) > 0.9


def test_no_image_is_judged_by_one_of_its_own_unit(exchanged):
    features, labels, _, wrong = exchanged
    # A copy with the same wrong label would vouch for it.
    features, labels = np.concatenate([features, features[wrong]]), np.concatenate([labels, labels[wrong]])
    units = np.append(np.arange(COUNT), wrong)
    believed = cross_validate(features.__getitem__, labels, units, 1)[np.arange(len(labels)), labels]
    assert np.median(believed[wrong]) < 0.2


def test_a_class_with_one_image_is_not_judged():
    draws = np.random.default_rng(1)
    # One of the others has but two.
    labels = np.array([0] * 38 + [1] * 2 + [2])
    features = draws.standard_normal((41, 5)).astype(np.float32)
    probabilities = cross_validate(features.__getitem__, labels, np.arange(41), 1)
    assert np.isnan(probabilities[40]).all()
    assert np.isfinite(probabilities[:40]).all()
    table = rank(rows(41), labels, probabilities, list("abc"))
    assert (table["path"].iloc[-1], table["suggested"].iloc[-1]) == ("040.png", "c")


def test_the_stage_ranks_every_training_and_validation_image(configure, tmp_path):
    config = configure("train.epochs=1")
    run_stages(config, tmp_path / "job", "prepare", "train")
    table = pd.read_csv(tmp_path / "job" / "train" / "label_issues.csv")
    manifest = pd.read_parquet(tmp_path / "job" / "prepare" / "manifest.parquet")
    assert sorted(table["path"]) == sorted(manifest.loc[manifest["split"] != "test", "path"])
    assert table["probability"].between(0, 1).all()
    write_label_issues(table, places(config).images, tmp_path / "page.html")
    assert "Doubtful labels" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("backbone=scratch_cnn", "the backbone is not pretrained"),
        ("train.label_issues=false", "train.label_issues is off"),
        ("hardware.feature_cache_gib=0", "the features are not cached"),
    ],
)
def test_labels_that_are_not_checked_are_logged_with_the_reason(configure, tmp_path, caplog, override, reason):
    config = configure(override, "train.epochs=1")
    with caplog.at_level(logging.INFO, "pipeline"):
        run_stages(config, tmp_path / "job", "prepare", "train")
    assert f"Label check skipped: {reason}" in caplog.text
    file = tmp_path / "job" / "train" / "label_issues.csv"
    assert file.read_text().strip() == ",".join(COLUMNS)
    write_label_issues(read_table(file), places(config).images, tmp_path / "page.html")
    assert "Labels were not checked" in (tmp_path / "page.html").read_text()
