"""The fit loop: with frozen work kept or done again, the same numbers; the best epoch is kept; what diverges ends."""

import keras
import numpy as np
import pytest

from pipeline.inputs.batches import FeatureInputs, ImageInputs, batches
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning
from pipeline.storage.cache import Cache
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.training.data import training_data
from pipeline.training.fit import fit_phase
from pipeline.training.hardware import set_up


@pytest.fixture
def prepared(configure, tmp_path):
    """A manifest of the made images."""
    from pipeline.stages import prepare

    (tmp_path / "prepare").mkdir()
    prepare.run(configure(), tmp_path, tmp_path / "prepare", None)
    return read_manifest(tmp_path / "prepare")


def fit(config, manifest, phase: str, report=lambda row: None, epochs_before: int = 0, **options):
    strategy = set_up(config.hardware, config.seed)
    model, cache = build_classifier(config, 3), Cache(resolve(config.cache_folder))
    if phase == "train":
        parts = parts_for_feature_extraction(model, config.backbone, config.hardware.precision)
        settings = config.train
    else:
        parts = parts_for_finetuning(model, config.backbone, config.finetune, config.hardware.precision)
        settings = config.finetune
    data = training_data(manifest, config, cache)
    return model, fit_phase(parts, data, config, settings, strategy, cache, report, epochs_before, **options)


@pytest.mark.parametrize(
    ("backbone", "phase", "precision"),
    [
        ("efficientnet_lite0", "train", "float32"),
        ("efficientnet_lite0", "finetune", "float32"),
        ("efficientnet_lite0", "finetune", "mixed_bfloat16"),
        ("resnet50", "finetune", "float32"),
        ("vgg16", "finetune", "float32"),
        pytest.param("efficientnet_b0", "finetune", "float32", marks=pytest.mark.every_backbone),
        pytest.param("resnet50", "finetune", "mixed_bfloat16", marks=pytest.mark.every_backbone),
        pytest.param("vgg16", "finetune", "mixed_bfloat16", marks=pytest.mark.every_backbone),
    ],
)
def test_kept_frozen_work_gives_the_losses_of_the_work_done_again(
    configure, prepared, backbone, phase, precision, monkeypatch
):
    overrides = [
        f"backbone={backbone}",
        "augment=light",
        "augment.views=1",
        "train.epochs=3",
        "finetune.epochs=3",
        "finetune.unfreeze=-1",
        f"hardware.precision={precision}",
    ]
    if backbone != "efficientnet_lite0":
        overrides.append("backbone.weights=random")
    rows, fed = [], []
    monkeypatch.setattr(
        "pipeline.training.fit.batches", lambda inputs, *rest: fed.append(inputs) or batches(inputs, *rest)
    )
    for budget in (1.0, 0.0):
        _, fitted = fit(configure(*overrides, f"hardware.feature_cache_gib={budget}"), prepared, phase)
        rows.append([(row["loss"], row["val_loss"]) for row in fitted.rows])
    assert [type(inputs) for inputs in fed] == [FeatureInputs, FeatureInputs, ImageInputs, ImageInputs]
    assert len(rows[0]) == 3
    np.testing.assert_allclose(rows[0], rows[1], rtol=2e-3 if precision == "float32" else 2e-2)


def test_the_kept_epoch_is_the_best_one(configure, prepared):
    config = configure(
        "train.epochs=6", "train.early_stopping_patience=null", "train.learning_rate=0.3", "hardware.precision=float32"
    )
    model, fitted = fit(config, prepared, "train")
    assert len(fitted.rows) == 6
    assert fitted.kept["val_loss"] == min(row["val_loss"] for row in fitted.rows)
    data = training_data(prepared, config, Cache(resolve(config.cache_folder)))
    labels = data.labels[data.validation]
    probabilities = model.predict(data.images.take(data.validation), verbose=0)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(fitted.kept["val_loss"], rel=1e-4)


def test_weights_between_start_and_end_are_kept_where_validation_prefers_them(configure, prepared):
    # So high a rate that the way leads beyond the best place.
    config = configure(
        "finetune.unfreeze=-1",
        "finetune.learning_rate=0.03",
        "finetune.epochs=1",
        "finetune.warmup_epochs=0",
        "augment=none",
        "hardware.precision=float32",
    )
    plain = fit(config, prepared, "finetune")[1]
    model, fitted = fit(config, prepared, "finetune", shares=[0.05, 0.1])
    assert fitted.rows == plain.rows
    assert fitted.kept["share"] < 1
    assert fitted.kept["val_loss"] < plain.kept["val_loss"]
    data = training_data(prepared, config, Cache(resolve(config.cache_folder)))
    labels = data.labels[data.validation]
    probabilities = model.predict(data.images.take(data.validation), verbose=0)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(fitted.kept["val_loss"], rel=1e-3)


def test_training_stops_when_validation_no_longer_improves(configure, prepared):
    config = configure(
        "train.epochs=50", "train.early_stopping_patience=2", "train.learning_rate=0.5", "train.monitor=val_accuracy"
    )
    _, fitted = fit(config, prepared, "train")
    assert len(fitted.rows) == fitted.kept["epoch"] + 2 < 50


def test_a_training_that_diverges_says_what_to_do(configure, prepared):
    config = configure("backbone=scratch_cnn", "train.learning_rate=1e30", "train.epochs=5")
    with pytest.raises(PipelineError, match=r"diverged in epoch \d .*lower the learning rate"):
        fit(config, prepared, "train")


def test_epochs_are_counted_over_both_phases(configure, prepared):
    seen = []
    fit(configure(), prepared, "train", seen.append, epochs_before=4)
    assert [row["epoch"] for row in seen] == [5, 6]


def test_class_weights_and_balanced_sampling_reach_the_fit(configure, prepared):
    def first_loss(*overrides: str) -> float:
        # So small a rate that the loss is that of the initial weights.
        small = ["train.learning_rate=1e-9", "train.epochs=1", "train.dropout=0", "augment=none"]
        return fit(configure(*small, "hardware.precision=float32", *overrides), prepared, "train")[1].rows[0]["loss"]

    plain = first_loss()
    assert first_loss("train.class_weight={blue:3,green:3,red:3}") == pytest.approx(3 * plain, rel=1e-4)
    assert first_loss("train.class_weight=balanced") == pytest.approx(plain, rel=0.05)
    only_red = first_loss("train.class_weight={blue:1e-9,green:1e-9}")
    assert only_red != pytest.approx(plain, rel=0.05)
    # Classes of the same size, in another order.
    assert first_loss("train.balanced_sampling=true") == pytest.approx(plain, rel=0.05)


def test_an_optional_hidden_layer_and_its_penalty(configure):
    config = configure("train.hidden_units=7", "train.l2=0.5", "backbone=scratch_cnn")
    head = build_classifier(config, 3).get_layer("head")
    assert [layer.name for layer in head.layers] == ["dropout", "hidden", "probabilities"]
    assert head.get_layer("hidden").units == 7
    assert len(head.losses) == 2
    assert isinstance(head.get_layer("probabilities").kernel_regularizer, keras.regularizers.L2)
