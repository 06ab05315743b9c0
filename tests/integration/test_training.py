"""Both phases, trained: cached and recomputed features give the same numbers; the best epoch is kept."""

import numpy as np
import pytest

from tests.support.training import fit, places


def feature_entries(config) -> int:
    return sum(entry.holds["kind"] == "frozen" for entry in places(config).cache.listing())


@pytest.mark.parametrize(
    ("backbone", "phase", "precision"),
    [
        ("efficientnet_lite0", "train", "float32"),
        pytest.param("efficientnet_lite0", "finetune", "float32", marks=pytest.mark.slow),
        ("efficientnet_lite0", "finetune", "mixed_bfloat16"),
        pytest.param("resnet50", "finetune", "float32", marks=pytest.mark.slow),
        ("vgg16", "finetune", "float32"),
        pytest.param("efficientnet_b0", "finetune", "float32", marks=pytest.mark.every_backbone),
        pytest.param("resnet50", "finetune", "mixed_bfloat16", marks=pytest.mark.every_backbone),
        pytest.param("vgg16", "finetune", "mixed_bfloat16", marks=pytest.mark.every_backbone),
    ],
)
def test_cached_features_give_the_losses_of_recomputed_ones(configure, backbone, phase, precision):
    overrides = [
        f"backbone={backbone}",
        "augment=light",
        "augment.views=1",
        "train.epochs=3",
        "finetune.epochs=3",
        "finetune.unfreeze=-1",
        "finetune.interpolate=null",
        f"hardware.precision={precision}",
    ]
    if backbone != "efficientnet_lite0":
        overrides.append("backbone.weights=random")
    losses = []
    for budget, entries in ((0.0, 0), (1.0, 2)):
        config = configure(*overrides, f"hardware.feature_cache_gib={budget}")
        losses.append([(row["loss"], row["val_loss"]) for row in fit(config, phase).rows])
        # One for each of the two variants, and in phase 1 as many of where fine-tuning starts.
        assert feature_entries(config) == entries * (2 if phase == "train" else 1)
    assert len(losses[0]) == 3
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3 if precision == "float32" else 2e-2)


def test_the_kept_epoch_is_the_best_one(configure):
    config = configure(
        "train.epochs=6", "train.early_stopping_patience=null", "train.learning_rate=0.3", "hardware.precision=float32"
    )
    trained = fit(config, "train")
    assert len(trained.rows) == 6
    assert trained.kept["val_loss"] == min(row["val_loss"] for row in trained.rows)
    assert trained.validation_loss == pytest.approx(trained.kept["val_loss"], rel=1e-4)


def test_weights_between_start_and_end_are_kept_where_validation_prefers_them(configure):
    # So high a rate that the last weights lie beyond the best ones.
    overrides = [
        "finetune.unfreeze=-1",
        "finetune.learning_rate=0.03",
        "finetune.epochs=1",
        "finetune.warmup_epochs=0",
        "augment=none",
        "hardware.precision=float32",
    ]
    plain = fit(configure(*overrides, "finetune.interpolate=null"), "finetune")
    trained = fit(configure(*overrides, "finetune.interpolate=[0.05, 0.1]"), "finetune")
    assert trained.rows == plain.rows
    assert plain.kept["alpha"] == 1
    assert trained.kept["alpha"] < 1
    assert trained.kept["val_loss"] < plain.kept["val_loss"]
    assert trained.validation_loss == pytest.approx(trained.kept["val_loss"], rel=1e-3)


def test_training_stops_when_validation_no_longer_improves(configure):
    config = configure(
        "train.epochs=50", "train.early_stopping_patience=2", "train.learning_rate=0.5", "train.monitor=val_accuracy"
    )
    trained = fit(config, "train")
    assert len(trained.rows) == trained.kept["epoch"] + 2 < 50


def test_epochs_are_counted_over_both_phases(configure):
    seen = []
    fit(configure(), "train", seen.append, epochs_before=4)
    assert [row["epoch"] for row in seen] == [5, 6]


def test_class_weights_and_balanced_sampling_reach_the_fit(configure):
    def first_loss(*overrides: str) -> float:
        # So small a rate that the loss is that of the initial weights.
        small = ["train.learning_rate=1e-9", "train.epochs=1", "train.dropout=0", "augment=none"]
        return fit(configure(*small, "hardware.precision=float32", *overrides), "train").rows[0]["loss"]

    plain = first_loss()
    assert first_loss("train.class_weight={blue:3,green:3,red:3}") == pytest.approx(3 * plain, rel=1e-4)
    assert first_loss("train.class_weight=balanced") == pytest.approx(plain, rel=0.05)
    only_red = first_loss("train.class_weight={blue:1e-9,green:1e-9}")
    assert only_red != pytest.approx(plain, rel=0.05)
    # Classes of the same size, in another order.
    assert first_loss("train.balanced_sampling=true") == pytest.approx(plain, rel=0.05)
