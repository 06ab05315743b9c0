"""Vision transformers of plain Keras layers: they compute what KerasHub's do, and can be cut, saved and explained."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("keras_hub")

from pipeline.evaluation.gradcam import heatmaps, map_cells
from pipeline.models.backbones import build_backbone
from pipeline.models.freezing import block_starts, first_trainable, unfreeze
from pipeline.models.graph import count_macs, split_below
from pipeline.models.hub_transformers import TRANSFORMERS
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning
from pipeline.models.saving import save_classifier
from pipeline.models.vision_transformer import below_last_block, patch_grid, vision_transformer
from pipeline.system.errors import PipelineError
from tests.support.backbones import small, small_classifier
from tests.support.hub import PATCH, SIZE, SMALL, WIDTH, answer, preset_folder, small_network
from tests.unit.models.test_backbones import step, values

IMAGES = np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
BLOCKS = r"^(block\d+)_"


@pytest.fixture(autouse=True)
def _fresh():
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)


def parts_of(network):
    return TRANSFORMERS[type(network).__name__](network)


@pytest.mark.parametrize("family", SMALL)
def test_it_computes_what_keras_hub_does(family):
    network = small_network(family)
    parts, tokens = parts_of(network), answer(network, IMAGES)
    prefix = len(parts.prefix)
    expected = {"attention": tokens} if family == "siglip" else {"average": tokens[:, prefix:].mean(axis=1)}
    if prefix:
        expected["token"] = tokens[:, 0]
        expected["token_average"] = np.concatenate([tokens[:, 0], expected["average"]], axis=1)
    for pooling, features in expected.items():
        maps = np.asarray(vision_transformer(parts, SIZE, pooling)(IMAGES, training=False))
        np.testing.assert_allclose(maps.mean(axis=(1, 2)), features, atol=2e-5)


@pytest.mark.parametrize("family", ["dinov3", "siglip"])
def test_plain_keras_loads_it_without_keras_hub_and_in_safe_mode(family, tmp_path):
    pooling = "attention" if family == "siglip" else "token_average"
    network = vision_transformer(parts_of(small_network(family)), SIZE, pooling)
    network.save(tmp_path / "it.keras")
    np.savez(tmp_path / "it.npz", images=IMAGES, maps=network(IMAGES, training=False))
    code = (
        "import sys, keras, numpy; it = numpy.load('it.npz')\n"
        "network = keras.saving.load_model('it.keras', safe_mode=True)\n"
        "numpy.testing.assert_allclose(network(it['images'], training=False), it['maps'], atol=1e-6)\n"
        "assert not {'keras_hub', 'pipeline'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.parametrize("family", SMALL)
def test_there_is_a_cut_at_each_block_where_both_parts_equal_the_whole(family):
    pooling = "attention" if family == "siglip" else "average"
    backbone = vision_transformer(parts_of(small_network(family)), SIZE, pooling)
    whole = backbone(IMAGES, training=False)
    starts = block_starts(backbone, BLOCKS)
    assert list(starts) == ["block1", "block2", "block3"]
    shapes = []
    for depth in ("all", *starts, "none"):
        learning = unfreeze(backbone, first_trainable(backbone, depth, BLOCKS), freeze_batch_norm=True)
        lower, upper = split_below(backbone, learning)
        np.testing.assert_allclose(upper(lower(IMAGES)), whole, atol=1e-5)
        trained = [layer.name for layer in upper.layers if layer.trainable_weights]
        assert not trained or trained[0] == ("embedding" if depth == "all" else f"{depth}_attention_norm")
        shapes.append(len(lower.weights))
    assert shapes == sorted(set(shapes))


def test_position_embeddings_are_interpolated_to_another_image_size():
    parts = parts_of(small_network("vit"))
    # Positions that grow evenly from left to right do so in a larger grid too.
    ramp = np.tile(np.arange(6, dtype=np.float32)[None, :, None], (6, 1, WIDTH)).reshape(36, WIDTH)
    larger = vision_transformer(replace(parts, positions=ramp), 2 * SIZE, "average")
    bias = np.asarray(larger.get_layer("embedding").bias)[len(parts.prefix) :] - parts.patch.bias
    row = bias.reshape(12, 12, WIDTH)[5, :, 0]
    np.testing.assert_allclose(row[2:-2], (np.arange(12) / 2 - 0.25)[2:-2], atol=0.05)
    assert larger.output_shape == (None, 12, 12, WIDTH)


def test_rotary_positions_are_those_of_keras_hub_at_another_image_size():
    kind, arguments = SMALL["dinov3"]
    network = small_network("dinov3")
    import keras_hub

    larger = getattr(keras_hub.models, kind)(**arguments | {"image_shape": (2 * SIZE, 2 * SIZE, 3)})
    larger.set_weights(network.get_weights())
    images = np.random.default_rng(2).normal(size=(1, 2 * SIZE, 2 * SIZE, 3)).astype(np.float32)
    maps = vision_transformer(parts_of(network), 2 * SIZE, "token")(images)
    np.testing.assert_allclose(np.asarray(maps)[:, 0, 0], answer(larger, images)[:, 0], atol=2e-5)


WIDE = [SIZE, 2 * SIZE]


def test_weights_of_a_trained_model_are_for_its_own_rectangle(made, tmp_path):
    config, file = made("vit"), tmp_path / "model.keras"
    config.image_size = WIDE
    save_classifier(small_classifier(config), ["a", "b", "c"], file)
    own = replace(config.backbone, weights=str(file))
    assert patch_grid(build_backbone(own, WIDE)) == (6, 12)
    with pytest.raises(
        PipelineError, match=r"a position for each patch of images of 24 x 48 px; use image_size=\[24,48\]"
    ):
        build_backbone(own, WIDE[::-1])


@pytest.mark.parametrize(
    ("family", "size", "pooling", "message"),
    [
        ("vit", [24, 30], "token", r"image_size: invalid value \[24, 30\] .*have 4 pixels; use 28 or 32 for 30"),
        ("vit", [30, 24], "token", "use 28 or 32 for 30"),
        ("vit", 30, "token", "image_size: invalid value 30 .*patches have 4 pixels; use 28 or 32"),
        ("vit", 3, "token", "image_size: invalid value 3 .*; use 4"),
        ("siglip", SIZE, "token", "backbone.pooling: 'token' .*allowed are average, attention"),
        ("vit", SIZE, "attention", "backbone.pooling: 'attention' .*allowed are average, token, token_average"),
        ("vit_without_token", SIZE, "token_average", "allowed are average$"),
    ],
)
def test_what_is_not_possible_is_refused(family, size, pooling, message):
    with pytest.raises(PipelineError, match=message):
        vision_transformer(parts_of(small_network(family)), size, pooling)


def test_multiply_adds_include_attention():
    network = vision_transformer(parts_of(small_network("vit_without_token")), SIZE, "average")
    tokens = (SIZE // PATCH) ** 2
    linear = PATCH * PATCH * 3 * WIDTH + 3 * (4 * WIDTH * WIDTH + 2 * WIDTH * 32)
    assert count_macs(network) == tokens * linear + 3 * 2 * tokens * tokens * WIDTH


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Folders of small presets, which the first test that uses one writes."""
    root = tmp_path_factory.mktemp("presets")

    def folder(family: str):
        place = root / family
        return place if place.exists() else preset_folder(small_network(family), place)

    return folder


@pytest.fixture
def made(presets):
    def make(family: str, *overrides: str):
        pooling = "attention" if family == "siglip" else "average" if "without" in family else "token_average"
        own = [f"backbone.preset={presets(family)}", "backbone.weights=preset", "backbone.unfreeze=block2"]
        config = small("hub", *own, f"backbone.pooling={pooling}", *overrides)
        config.image_size = SIZE
        return config

    return make


@pytest.mark.parametrize("family", ["dinov3", "siglip", "vit"])
def test_both_phases_train_what_they_should(family, made):
    config = made(family)
    model = small_classifier(config)
    backbone = model.get_layer("backbone")
    before = values(backbone)
    step(parts_for_feature_extraction(model, config.backbone, "float32"), SIZE)
    assert all(np.array_equal(one, other) for one, other in zip(before, values(backbone), strict=True))
    first_layer = first_trainable(backbone, "block2", BLOCKS)
    parts = parts_for_finetuning(
        model, first_layer, freeze_batch_norm=True, precision="float32", stochastic_depth=0.2, dropout=0.1
    )
    below = parts.frozen.digest
    step(parts, SIZE)
    changed = {
        weight.path.split("/")[0]
        for weight, old in zip(backbone.weights, before, strict=True)
        if not np.array_equal(old, np.array(weight))
    }
    assert changed
    assert all(name.startswith(("block2_", "block3_", "norm", "pool_")) for name in changed)
    again = parts_for_finetuning(model, first_layer, freeze_batch_norm=True, precision="float32")
    assert again.frozen.digest == below


@pytest.mark.parametrize("family", ["dinov3", "siglip"])
def test_a_frozen_part_in_bfloat16_is_close_to_float32(family, made):
    config = made(family)
    model = small_classifier(config)
    images = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    exact = keras.Model(model.inputs[0], model.get_layer("pooling").output)(images)
    for precision, tolerance in (("float32", 1e-5), ("mixed_bfloat16", 0.1)):
        frozen = parts_for_feature_extraction(model, config.backbone, precision).frozen
        np.testing.assert_allclose(frozen.from_pixels(images), exact, atol=tolerance)


def test_a_preset_with_other_constants_has_other_features(made):
    """A preset's configuration may change without its weights."""
    digests = set()
    for epsilon in (1e-6, 1e-3):
        parts = parts_of(small_network("vit"))
        norm = replace(parts.norm, epsilon=epsilon)
        config = made("vit")
        model = small_classifier(config)
        network = vision_transformer(replace(parts, norm=norm), SIZE, "token")
        frozen = parts_for_feature_extraction(model, config.backbone, "float32").frozen
        digests.add(replace(frozen, lower=network).digest)
    assert len(digests) == 2


@pytest.mark.parametrize("family", ["dinov2_registers", "siglip"])
def test_heat_maps_show_the_patches(family, made):
    config = made(family)
    model = small_classifier(config)
    head = model.get_layer("head").layers[-1]
    head.kernel.assign(np.random.default_rng(1).normal(size=head.kernel.shape))
    images = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    assert map_cells(model) == (6, 6)
    maps = heatmaps(model, images, np.array([0, 2]))
    assert maps.shape == images.shape[:3]
    assert maps.max() == 1
    assert maps[0].std() > 0


@pytest.mark.parametrize("size", [WIDE, WIDE[::-1]])
def test_heat_maps_of_a_rectangle_have_its_rows_and_columns(size, made):
    """The class is where the gradients are: with heads that count one patch, at that patch."""
    config = made("vit_without_token")
    config.image_size = size
    model = small_classifier(config)
    assert map_cells(model) == (size[0] // PATCH, size[1] // PATCH)
    head = model.get_layer("head").layers[-1]
    head.kernel.assign(np.random.default_rng(1).normal(size=head.kernel.shape))
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    maps = heatmaps(model, images, np.array([0, 2]))
    assert maps.shape == images.shape[:3]
    backbone = model.get_layer("backbone")
    below = keras.Model(backbone.inputs[0], below_last_block(backbone))(model.get_layer("preprocessing")(images))
    upper = keras.Model(below_last_block(backbone), backbone.outputs[0])
    with tf.GradientTape() as tape:
        tape.watch(below)
        logit = tf.reduce_mean(upper(below), axis=(1, 2)) @ head.kernel
        logit = tf.gather(logit, [0, 2], axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(logit, below), axis=1, keepdims=True)
    expected = tf.nn.relu(tf.reduce_sum(weights * below, axis=-1)).numpy().reshape(2, *map_cells(model))
    centres = maps[:, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]
    for cells, found in zip(expected, centres, strict=True):
        assert np.corrcoef(cells.ravel(), found.ravel())[0, 1] > 0.9
