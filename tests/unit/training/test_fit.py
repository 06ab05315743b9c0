"""What recipes do to a fit: averages, several phases and sizes, live augmentation, divergence; and draws that a resume would repeat."""

import logging
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.parts import parts_for_feature_extraction
from pipeline.models.saving import load_classifier
from pipeline.stages import prepare, train
from pipeline.stages.finetune import run as finetune
from pipeline.storage.cache import Cache
from pipeline.storage.files import read_json
from pipeline.system.errors import DivergedError
from pipeline.training.callbacks import EpochSeeds
from pipeline.training.data import training_data
from pipeline.training.fit import feed, fit_phase
from pipeline.training.hardware import set_up

SMALL = ("backbone=scratch_cnn", "train.label_issues=false", "augment=live", "hardware.precision=float32")


@pytest.fixture
def tuned(configure, tmp_path):
    """Fine-tunes the small network as told, and gives the folder with what came of it."""

    def make(*overrides: str) -> Path:
        config = configure(*SMALL, *overrides)
        folder = tmp_path / "job"
        for stage, run in (("prepare", prepare.run), ("train", train.run), ("finetune", finetune)):
            if not (folder / stage).exists():
                (folder / stage).mkdir(parents=True)
                run(config, folder, folder / stage, lambda row: None)
        return folder / "finetune"

    return make


def test_phases_go_on_from_one_another_on_one_axis(tuned):
    phases = "[{unfreeze:-1,epochs:2},{unfreeze:all,epochs:1,learning_rate:1e-4},{image_size:48,epochs:2}]"
    out = tuned(
        f"finetune.phases={phases}",
        "finetune.warmup_epochs=0",
        "finetune.schedule=constant",
        "finetune.unfreeze=all",
        "finetune.interpolate=null",
    )
    history, rates = pd.read_csv(out / "history.csv"), pd.read_csv(out / "rates.csv")
    assert history["epoch"].tolist() == [3, 4, 5, 6, 7]
    assert history["learning_rate"].tolist() == [1e-3, 1e-3, 1e-4, 1e-3, 1e-3]
    assert rates["step"].tolist() == list(range(1, 11))
    assert rates["epoch"].tolist() == [3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    metrics = read_json(out / "metrics.json")
    assert metrics["phase_epochs"] == [2, 1, 2]
    assert metrics["val_loss"] == history["val_loss"].min()
    # Whatever size it learned at, it is what it was: a classifier of images of image_size.
    model, _ = load_classifier(out / "model.keras")
    assert model.input_shape == (None, 32, 32, 3)


def test_validation_stays_at_the_image_size(tuned, configure, tmp_path):
    out = tuned("finetune.image_size=48", "finetune.unfreeze=all")
    config = configure(*SMALL)
    data = training_data(read_manifest(out.parent / "prepare"), config, Cache(tmp_path / "cache"))
    model, _ = load_classifier(out / "model.keras")
    probabilities = model.predict(data.images.take(data.validation), verbose=0)
    labels = data.labels[data.validation]
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(read_json(out / "metrics.json")["val_loss"], rel=1e-4)


@pytest.fixture
def fitted(configure, tmp_path):
    """Phase 1 of the small network, from scratch."""

    def make(*overrides: str, patch=None):
        config = configure(*SMALL, *overrides)
        set_up(config.hardware, config.seed)
        folder = tmp_path / "prepare"
        if not folder.exists():
            folder.mkdir()
            prepare.run(config, tmp_path, folder, None)
        data, cache = training_data(read_manifest(folder), config, Cache(tmp_path / "cache")), Cache(tmp_path / "cache")
        model = build_classifier(config, 3)
        parts = parts_for_feature_extraction(model, config.backbone, "float32")
        strategy = set_up(config.hardware, config.seed)
        return model, fit_phase(parts, data, config, config.train, strategy, cache, lambda row: None), data

    return make


@pytest.mark.parametrize("restore", ["true", "false"])
def test_the_average_of_the_weights_is_validated_and_kept(fitted, restore):
    options = ["train.epochs=3", "train.learning_rate=0.003", f"train.restore_best={restore}"]
    model, result, data = fitted(*options, "train.ema=0.9")
    labels = data.labels[data.validation]
    probabilities = model.predict(data.images.take(data.validation), verbose=0)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(result.kept["val_loss"], rel=1e-4)
    _, plain, _ = fitted(*options)
    # It learns as without, since only a copy is averaged.
    assert [row["loss"] for row in result.rows] == [row["loss"] for row in plain.rows]
    assert [row["val_loss"] for row in result.rows] != [row["val_loss"] for row in plain.rows]


def test_what_is_learned_from_pixels_is_new_each_epoch_and_what_is_kept_is_not(configure, tmp_path):
    (tmp_path / "prepare").mkdir()
    for backbone, views, expected in (
        ("scratch_cnn", 0, None),
        ("efficientnet_lite0", 0, 1),
        ("efficientnet_lite0", 1, 2),
    ):
        config = configure(f"backbone={backbone}", "backbone.weights=random", "augment=light", f"augment.views={views}")
        set_up(config.hardware, 1)
        if not (tmp_path / "prepare" / "manifest.parquet").exists():
            prepare.run(config, tmp_path, tmp_path / "prepare", None)
        cache = Cache(tmp_path / "cache")
        data = training_data(read_manifest(tmp_path / "prepare"), config, cache)
        parts = parts_for_feature_extraction(build_classifier(config, 3), config.backbone, "float32")
        assert feed(parts, data, config, config.train, cache).views == expected


def test_mixing_says_where_a_batch_holds_one_class_only(fitted, caplog):
    with caplog.at_level(logging.WARNING, "pipeline"):
        _, result, _ = fitted("augment.mixup=0.4", "train.batch_size=3", "train.epochs=1")
    assert "hold one class only, whose labels mixing leaves as they are" in caplog.text
    assert np.isfinite(result.rows[0]["loss"])


def test_a_head_alone_is_not_mixed_and_that_is_said(configure, tmp_path, caplog):
    config = configure("augment=live", "augment.mixup=0.4", "backbone.weights=random")
    set_up(config.hardware, 1)
    (tmp_path / "prepare").mkdir()
    prepare.run(config, tmp_path, tmp_path / "prepare", None)
    cache = Cache(tmp_path / "cache")
    data = training_data(read_manifest(tmp_path / "prepare"), config, cache)
    parts = parts_for_feature_extraction(build_classifier(config, 3), config.backbone, "float32")
    with caplog.at_level(logging.INFO, "pipeline"):
        fed = feed(parts, data, config, config.train, cache)
    assert fed.network is parts.trainable
    assert "not on a head alone" in caplog.text


def test_a_loss_far_above_that_of_guessing_ends_the_training(fitted):
    with pytest.raises(DivergedError, match=r"diverged in epoch 1 .*find_lr"):
        fitted(
            "train.learning_rate=30",
            "train.batch_size=2",
            "train.epochs=5",
            "train.optimizer=sgd",
            "train.momentum=0.9",
        )


def test_what_dropout_draws_is_a_function_of_seed_and_epoch():
    dropout = keras.layers.Dropout(0.5)
    network = keras.Sequential([keras.layers.Input((64,)), dropout])
    ones = np.ones((1, 64), np.float32)

    def drawn(seed: int, first: int, epoch: int) -> list[float]:
        seeds = EpochSeeds(seed, first)
        seeds.set_model(network)
        seeds.on_epoch_begin(epoch)
        return network(ones, training=True).numpy().tolist()

    assert drawn(1, 0, 3) == drawn(1, 2, 1)
    assert drawn(1, 0, 3) != drawn(1, 0, 4)
    assert drawn(2, 0, 3) != drawn(1, 0, 3)
