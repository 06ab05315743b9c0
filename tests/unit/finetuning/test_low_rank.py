"""Low-rank updates of vision transformers: what they train, and that the saved classifier has them in its weights."""

import re
import zipfile

import keras
import numpy as np
import pytest

pytest.importorskip("keras_hub")

from pipeline.finetuning.finetuner import round_parts
from pipeline.finetuning.low_rank import merge, with_low_rank
from pipeline.finetuning.rounds import finetune_rounds
from pipeline.models.saving import save_classifier
from pipeline.system.errors import PipelineError
from pipeline.training.fit import PhaseFit, compile_network
from pipeline.training.optimizers import Rates
from tests.support.hub import SIZE, WIDTH, preset_folder, small_network
from tests.support.training import classifier, context_of, finetuning_parts, fit

IMAGES = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
UPDATED = [f"block{number}_{role}" for number in (2, 3) for role in ("query", "value")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a small DINOv2, which has scales and register tokens too."""
    return preset_folder(small_network("dinov2_registers"), tmp_path_factory.mktemp("preset") / "small")


@pytest.fixture
def transformer(configure, folder):
    """Makes configurations of a small vision transformer of three blocks, with updates of rank 4 in the upper two."""

    def make(*overrides: str):
        network = ["backbone=hub", f"backbone.preset={folder}", "backbone.min_image_size=8", f"image_size={SIZE}"]
        training = ["finetune=light", "finetune.epochs=2", "finetune.learning_rate=0.01", "hardware.precision=float32"]
        own = ["backbone.pooling=token_average", "backbone.unfreeze=block2", "finetune.lora_rank=4"]
        return configure(*network, *training, *own, *overrides)

    return make


def with_updates(config, model, seed: int = 1):
    return with_low_rank(finetuning_parts(config, model), config.finetune.lora_rank, seed)


def shaken(parts):
    """Give updates other values than zero."""
    generator = np.random.default_rng(1)
    for weight in parts.upper.trainable_weights:
        weight.assign(weight + generator.normal(0, 0.1, weight.shape))
    return parts


def features(parts) -> np.ndarray:
    return np.asarray(parts.feature_maps(IMAGES))


def test_only_updates_of_the_unfrozen_blocks_and_the_head_are_trained(transformer):
    config = transformer()
    model = classifier(config)
    plain = finetuning_parts(config, model)
    digest, before = plain.frozen.digest, features(plain)
    parts = with_updates(config, model)
    trained = {weight.path: tuple(weight.shape) for weight in parts.trainable.trainable_variables}
    expected = {f"{name}_low_rank/down": (WIDTH, 4) for name in UPDATED}
    expected |= {f"{name}_low_rank/up": (4, WIDTH) for name in UPDATED}
    assert trained == expected | {"head/probabilities/kernel": (2 * WIDTH, 3), "head/probabilities/bias": (3,)}
    # What is below is the same, and so are its cached features; nothing is computed otherwise before the first step.
    assert parts.frozen.digest == digest
    np.testing.assert_array_equal(features(parts), before)


def test_layers_below_the_unfreeze_depth_get_none_where_the_cut_is_below_them(transformer):
    config = transformer("finetune.unfreeze=block2_value")
    parts = with_updates(config, classifier(config))
    updated = [layer.dense.name for layer in parts.upper.layers if layer.name.endswith("low_rank")]
    assert sorted(updated) == ["block2_value", "block3_query", "block3_value"]
    assert "block2_query" in [layer.name for layer in parts.upper.layers]


def test_the_optimizer_has_moments_of_updates_and_head_alone(transformer):
    config = transformer()
    parts = with_updates(config, classifier(config))
    compile_network(parts.trainable, PhaseFit(parts, None, config.finetune), Rates(config.finetune, 3), jit=False)
    parts.trainable.optimizer.build(parts.trainable.trainable_variables)
    moments = [each for each in parts.trainable.optimizer.variables if re.search("momentum|velocity", each.path)]
    updates, head = len(UPDATED) * 2 * 4 * WIDTH, 2 * WIDTH * 3 + 3
    assert sum(int(np.prod(each.shape)) for each in moments) == 2 * (updates + head)


def test_initial_values_are_those_of_the_seed(transformer):
    config = transformer()
    values = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed + len(values))
        parts = with_updates(config, classifier(config), seed)
        values.append([np.array(weight) for weight in parts.upper.trainable_weights])
    for first, again, other in zip(*values, strict=True):
        np.testing.assert_array_equal(first, again)
        assert not first.any() or not np.array_equal(first, other)
    # Each layer has its own.
    assert not np.array_equal(values[0][0], values[0][2])


def test_merged_updates_compute_the_same(transformer):
    config = transformer()
    model = classifier(config)
    parts = shaken(with_updates(config, model))
    expected, before = features(parts), features(finetuning_parts(config, classifier(config)))
    assert np.abs(expected - before).max() > 0.1
    for _ in range(2):
        # The second time, there is nothing left to merge.
        merge(parts)
        np.testing.assert_allclose(features(parts), expected, atol=1e-5)
        np.testing.assert_allclose(features(finetuning_parts(config, model)), expected, atol=1e-5)


def test_the_saved_classifier_is_that_of_a_fine_tuning_without_updates(transformer, tmp_path):
    config, texts = transformer(), []
    model = classifier(config)
    for parts in (shaken(with_updates(config, model)), finetuning_parts(config, model)):
        merge(parts)
        file = tmp_path / "model.keras"
        save_classifier(model, ["a", "b", "c"], file)
        with zipfile.ZipFile(file) as members:
            texts.append(members.read("config.json"))
    assert texts[0] == texts[1]
    assert b"low_rank" not in texts[0]
    loaded = keras.saving.load_model(file, safe_mode=True)
    np.testing.assert_array_equal(features(finetuning_parts(config, loaded)), features(parts))


def changed_layers(before, after) -> set[str]:
    """The layers of a classifier's backbone that have other weights than before."""
    pairs = zip(before.get_layer("backbone").layers, after.get_layer("backbone").layers, strict=True)
    weights = {new.name: zip(old.get_weights(), new.get_weights(), strict=True) for old, new in pairs}
    return {name for name, each in weights.items() if not all(np.array_equal(*pair) for pair in each)}


@pytest.mark.parametrize(
    "overrides",
    [
        ["finetune.phases=[{unfreeze: block3, epochs: 1}, {epochs: 2, learning_rate: 0.003}]", "finetune.ema=0.9"],
        pytest.param(
            ["augment.mixup=0.4", "finetune.unfreeze=all", "finetune.restore_best=false", "finetune.interpolate=null"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [
                *("finetune.optimizer=sgd", "finetune.stochastic_depth=0.2", "finetune.dropout=0.2"),
                *("finetune.weight_decay=0.01", "finetune.accumulate=2", "finetune.clip_norm=1"),
                *("finetune.batch_size=8", "finetune.rate_factors={block2: 0.5}", "finetune.epochs=3"),
                "finetune.early_stopping_patience=1",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["rounds and averages", "mixup", "sgd"],
)
def test_the_classifier_ends_with_the_validation_loss_of_its_kept_epoch(transformer, overrides):
    config = transformer(*overrides)
    trained = fit(config, "finetune")
    assert trained.validation_loss == pytest.approx(trained.kept["val_loss"], rel=1e-4)
    first = {"block1_query", "block1_value"} if config.finetune.unfreeze == "all" else set()
    assert changed_layers(classifier(config), trained.model) == first | set(UPDATED)


@pytest.mark.slow
def test_interpolated_weights_are_between_those_of_the_start_and_the_end(transformer):
    # So high a rate that the last weights lie beyond the best ones.
    options = ["finetune.learning_rate=0.5", "finetune.epochs=1", "finetune.warmup_epochs=0", "augment=none"]
    kernels = {}
    for alphas in ("null", "[0.5]"):
        trained = fit(transformer(*options, f"finetune.interpolate={alphas}"), "finetune")
        assert trained.validation_loss == pytest.approx(trained.kept["val_loss"], rel=1e-3)
        kernels[trained.kept["alpha"]] = projection(trained.model)
    middle = (projection(classifier(transformer())) + kernels[1]) / 2
    np.testing.assert_allclose(kernels[0.5], middle, atol=1e-6)


def projection(model) -> np.ndarray:
    return np.array(model.get_layer("backbone").get_layer("block3_value").kernel)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_it_learns_in_reduced_precision(transformer, precision):
    config = transformer(f"hardware.precision={precision}", "finetune.epochs=4", "finetune.interpolate=null")
    rows = fit(config, "finetune").rows
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_learning_rates_are_those_of_the_blocks(transformer):
    config = transformer("finetune.rate_decay=0.5")
    model, context = classifier(config), context_of(config)
    [each] = finetune_rounds(config.finetune, config.backbone, model.get_layer("backbone"), 10)
    parts, factors = round_parts(model, each, config.backbone.blocks, context)
    found = {weight.path: factors[id(weight)] for weight in parts.trainable.trainable_variables}
    expected = {"block2": 0.5, "block3": 1, "head": 1}
    assert found == {path: expected[re.match(r"block\d|head", path)[0]] for path in found}


@pytest.mark.slow
def test_a_training_that_was_cut_off_ends_as_if_nothing_had_been(transformer, tmp_path):
    config = transformer("finetune.phases=[{unfreeze: block3}, {epochs: 1}]", "train.dropout=0.3")
    uninterrupted, reported = fit(config, "finetune"), []
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()

    def cut_off(row):
        if row not in reported:
            reported.append(row)
            raise KeyboardInterrupt

    while True:
        try:
            resumed = fit(config, "finetune", cut_off, checkpoints=checkpoints)
            break
        except KeyboardInterrupt:
            pass
    assert resumed.rows == uninterrupted.rows == reported
    assert len(reported) == 3
    for ours, theirs in zip(resumed.model.get_weights(), uninterrupted.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_has_nothing_to_update_is_refused(transformer):
    backbone = classifier(transformer()).get_layer("backbone")
    unfrozen = "finetune.lora_rank: invalid value 4 with backbone=hub and unfreeze={}, which unfreezes no block"
    for override, message in {
        "finetune.unfreeze=none": unfrozen.format("none"),
        "finetune.unfreeze=norm": unfrozen.format("norm"),
        "finetune.phases=[{unfreeze: none}, {unfreeze: -1}]": unfrozen.format("none"),
        "finetune.lora_rank=17": "invalid value 17 with backbone=hub, .* have 16 features; use at most 16, or null",
    }.items():
        config = transformer(override)
        with pytest.raises(PipelineError, match=message):
            finetune_rounds(config.finetune, config.backbone, backbone, 10)


def test_networks_of_convolutions_are_refused(configure):
    config = configure("backbone.weights=random", "finetune=full", "finetune.lora_rank=4")
    message = (
        "finetune.lora_rank: invalid value 4 with backbone=efficientnet_lite0 and unfreeze=all, which unfreezes no"
    )
    with pytest.raises(PipelineError, match=message):
        finetune_rounds(config.finetune, config.backbone, classifier(config).get_layer("backbone"), 10)
