"""What recipes do to a fit: averages, several rounds and sizes, live augmentation, scale of features, divergence."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.inputs.batches import FeatureInputs
from pipeline.models.saving import load_classifier
from pipeline.storage.files import read_json
from pipeline.system.errors import DivergedError
from pipeline.training.fit import PhaseInputs, make_inputs
from tests.support.training import (
    classifier,
    context_of,
    data_of,
    extraction_parts,
    fit,
    loss_on_validation,
    run_stages,
)

SMALL = ("backbone=scratch_cnn", "train.label_issues=false", "augment=live", "hardware.precision=float32")


@pytest.fixture
def tuned(configure, tmp_path):
    """Fine-tunes the small network, and returns the stage's folder."""

    def make(*overrides: str) -> Path:
        run_stages(configure(*SMALL, *overrides), tmp_path / "job", "prepare", "train", "finetune")
        return tmp_path / "job" / "finetune"

    return make


def test_rounds_continue_from_one_another_on_one_axis(tuned):
    rounds = "[{unfreeze:-1,epochs:2},{unfreeze:all,epochs:1,learning_rate:1e-4},{image_size:48,epochs:2}]"
    out = tuned(
        f"finetune.phases={rounds}",
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
    assert metrics["unfreeze_rounds"] == "-1, then all, then all"
    assert metrics["val_loss"] == history["val_loss"].min()
    # Whatever size it was trained at, it is a classifier of images of image_size.
    model, _ = load_classifier(out / "model.keras")
    assert model.input_shape == (None, 32, 32, 3)


def test_validation_stays_at_the_image_size(tuned, configure):
    out = tuned("finetune.image_size=48", "finetune.unfreeze=all")
    model, _ = load_classifier(out / "model.keras")
    loss = loss_on_validation(model, data_of(configure(*SMALL)))
    assert loss == pytest.approx(read_json(out / "metrics.json")["val_loss"], rel=1e-4)


@pytest.mark.parametrize("restore", ["true", "false"])
def test_the_average_of_the_weights_is_validated_and_kept(configure, restore):
    options = [*SMALL, "train.epochs=3", "train.learning_rate=0.003", f"train.restore_best={restore}"]
    averaged = fit(configure(*options, "train.ema=0.9"), "train")
    assert averaged.validation_loss == pytest.approx(averaged.kept["val_loss"], rel=1e-4)
    plain = fit(configure(*options), "train")
    # It is trained as without, since only a copy is averaged.
    assert [row["loss"] for row in averaged.rows] == [row["loss"] for row in plain.rows]
    assert [row["val_loss"] for row in averaged.rows] != [row["val_loss"] for row in plain.rows]


def extraction_inputs(config) -> PhaseInputs:
    context = context_of(config)
    return make_inputs(extraction_parts(config, classifier(config)), data_of(config), config.train, context)


@pytest.mark.parametrize(
    ("backbone", "views", "expected"),
    [("scratch_cnn", 0, None), ("efficientnet_lite0", 0, 1), ("efficientnet_lite0", 1, 2)],
)
def test_images_are_in_new_variants_each_epoch_and_cached_features_are_not(configure, backbone, views, expected):
    overrides = [f"backbone={backbone}", "backbone.weights=random", "augment=light", f"augment.views={views}"]
    assert extraction_inputs(configure(*overrides)).variants == expected


def test_mixing_warns_where_a_batch_holds_one_class_only(configure, caplog):
    with caplog.at_level(logging.WARNING, "pipeline"):
        trained = fit(configure(*SMALL, "augment.mixup=0.4", "train.batch_size=3", "train.epochs=1"), "train")
    assert "contain only one class, so that mixing does not change their labels" in caplog.text
    assert np.isfinite(trained.rows[0]["loss"])


def test_a_head_alone_is_not_mixed_and_that_is_logged(configure, caplog):
    with caplog.at_level(logging.INFO, "pipeline"):
        inputs = extraction_inputs(configure("augment=live", "augment.mixup=0.4", "backbone.weights=random"))
    assert not inputs.mixed
    assert inputs.training.shape == inputs.network.input_shape[1:]
    assert "ignored while only the head is trained" in caplog.text


def test_a_loss_far_above_that_of_guessing_ends_the_training(configure):
    overrides = ["train.learning_rate=10", "train.batch_size=2", "train.epochs=5"]
    # The loss is a number all the time.
    with pytest.raises(DivergedError, match=r"diverged in epoch 1 \(training loss \d.*find_lr"):
        fit(configure(*SMALL, *overrides), "train")


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_head_is_trained_the_same_on_features_of_any_scale(configure, monkeypatch, hidden):
    take = FeatureInputs.take
    config = configure(
        "backbone.weights=random", f"train.hidden_units={hidden}", "train.batch_size=3", "train.epochs=3"
    )

    def losses(scale: float) -> list[float]:
        def scaled(*arguments) -> np.ndarray:
            features = take(*arguments)
            # Others are those that fine-tuning starts from.
            return features * np.float32(scale) if features.ndim == 2 else features

        monkeypatch.setattr(FeatureInputs, "take", scaled)
        trained = fit(config, "train")
        # Twelve batches begin at the loss of guessing, so that no scale is taken for divergence.
        return [row["loss"] for row in trained.rows]

    plain = losses(1)
    assert plain[0] < 1.5
    for scale in (0.01, 30, 1000):
        assert losses(scale) == pytest.approx(plain, rel=1e-3)


def test_the_classifier_has_the_scale_in_its_weights(configure):
    trained = fit(configure("backbone.weights=random", "train.epochs=2"), "train")
    assert trained.validation_loss == pytest.approx(trained.kept["val_loss"], rel=1e-2)


@pytest.mark.parametrize("rate", ["0.1", "1", "10"])
def test_a_head_whose_loss_gets_worse_ends_the_training_in_its_first_epoch(configure, rate):
    config = configure("backbone.weights=random", "train.batch_size=2", f"train.learning_rate={rate}", "train.epochs=5")
    with pytest.raises(
        DivergedError, match=r"diverged in epoch 1 \(training loss .* after 1\d batches, 1\.099 at the start"
    ):
        fit(config, "train")
