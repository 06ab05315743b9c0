"""Heads without gradient descent: the saved classifier is the one that was chosen, and says what was chosen."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.models.saving import load_classifier
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from pipeline.training.cross_validation import make_folds
from pipeline.training.linear_head import cross_validate
from pipeline.training.linear_models import Ridge, Samples
from pipeline.training.temperature import fit_temperature
from tests.support.training import data_of, loss_on_validation, run_stages

SMALL = ("backbone.weights=random", "train.label_issues=false", "hardware.precision=float32")
HEADS = ["ridge", "logistic"]


@pytest.fixture
def trained(configure, tmp_path):
    """Runs phase 1, and returns the stage's folder."""

    def make(*overrides: str, job: str = "job"):
        run_stages(configure(*SMALL, *overrides), tmp_path / job, "prepare", "train")
        return tmp_path / job / "train"

    return make


@pytest.mark.parametrize("head", HEADS)
def test_the_saved_classifier_has_the_figures_of_its_only_epoch(trained, configure, head):
    out = trained(f"train.head={head}", "augment.views=1")
    history, metrics = pd.read_csv(out / "history.csv"), read_json(out / "metrics.json")
    assert history["epoch"].tolist() == [1]
    assert history["learning_rate"].tolist() == [0]
    assert pd.read_csv(out / "rates.csv").empty
    assert (metrics["epochs"], metrics["kept_epoch"], metrics["head"]) == (1, 1, head)
    assert metrics["val_loss"] == history["val_loss"][0]
    # The images are of plain colours, which even random features separate.
    assert metrics["out_of_fold_accuracy"] > 0.9
    model, _ = load_classifier(out / "model.keras")
    assert model.get_layer("head").layers[-1].activation.__name__ == "softmax"
    assert loss_on_validation(model, data_of(configure(*SMALL))) == pytest.approx(metrics["val_loss"], rel=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_the_same_head_twice_to_the_last_digit(trained, head):
    first, second = (trained(f"train.head={head}", job=job) for job in ("first", "second"))
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    weights = [load_classifier(out / "model.keras")[0].get_layer("head").get_weights() for out in (first, second)]
    for own, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(own, other)


def test_features_that_do_not_fit_the_cache_are_an_error(trained):
    with pytest.raises(PipelineError, match=r"train\.head=ridge needs cached features"):
        trained("train.head=ridge", "hardware.feature_cache_gib=0")


class Features:
    """Features of images in one variant."""

    def __init__(self, values: np.ndarray):
        self.content, self.shape, self.dtype = values, values.shape[1:], values.dtype

    def __len__(self) -> int:
        return len(self.content)

    def take(self, indices: np.ndarray, _variants: np.ndarray) -> np.ndarray:
        return self.content[indices]


def made(distance: float, copies: int = 1) -> Samples:
    """Samples of three classes whose means are apart, and copies of them, which are in the same fold."""
    draws, count = np.random.default_rng(1), 240
    labels = draws.integers(0, 3, count)
    values = draws.standard_normal((count, 300)).astype(np.float32)
    values[:, :3] += distance * np.eye(3)[labels]
    units = np.tile(np.arange(count), copies)
    values, labels = np.tile(values, (copies, 1)), np.tile(labels, copies)
    ones = np.ones(len(labels), np.float32)
    return Samples(Features(values), 1, 1.0, labels, 3, ones, make_folds(labels, units, 1))


def test_the_choice_has_the_figures_of_images_that_were_left_out():
    samples = made(2)
    chosen = cross_validate(Ridge(samples, 1), samples, 1)
    scores = np.empty((240, 3), np.float32)
    for fold in range(5):
        [linear] = Ridge(samples, 1).fits(fold, [chosen.penalty])
        here = np.flatnonzero(samples.folds == fold)
        scores[here] = linear.scores(samples.values(here))
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    assert chosen.accuracy == (scores.argmax(axis=1) == samples.labels).mean()
    assert chosen.temperature == pytest.approx(
        fit_temperature(samples.labels, powers / powers.sum(axis=1, keepdims=True)), rel=1e-3
    )


def test_copies_do_not_vouch_for_random_labels():
    samples = made(0, copies=2)
    assert cross_validate(Ridge(samples, 1), samples, 1).accuracy < 0.5
    divided = replace(samples, folds=make_folds(samples.labels, np.arange(480), 1))
    assert cross_validate(Ridge(divided, 1), divided, 1).accuracy > 0.6
