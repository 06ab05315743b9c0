"""All backbones: built, cut, frozen and trained as the configuration says."""

import gc
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.models.backbones import build_backbone, with_depthwise_layers
from pipeline.models.classifier import BACKBONE
from pipeline.models.freezing import batch_norm_digest, batch_norms, block_starts, first_trainable, unfreeze
from pipeline.models.graph import split_below
from pipeline.models.parts import FrozenBelow, Parts, parts_for_feature_extraction, parts_for_finetuning
from pipeline.system.errors import PipelineError
from tests.support.backbones import BACKBONES, small, small_classifier

REPRESENTATIVE = [
    "convnext_tiny",
    "densenet121",
    "efficientnet_lite0",
    "efficientnet_v2_b0",
    "inception_v3",
    "mobilenet_v2",
    "resnet50",
    "scratch_cnn",
    "vgg16",
    "xception",
]
# The fast tests train a plain network, one with residual branches and one with depthwise convolutions.
FAST = {"scratch_cnn", "efficientnet_lite0", "resnet50", "vgg16"}


def marks(name: str) -> list[pytest.MarkDecorator]:
    """When a backbone is tested."""
    if name in FAST:
        return []
    return [pytest.mark.slow if name in REPRESENTATIVE else pytest.mark.every_backbone]


EVERY = [pytest.param(name, marks=marks(name)) for name in BACKBONES]


@pytest.fixture(autouse=True)
def _fresh():
    keras.backend.clear_session()
    # Models hold on to themselves in circles, and the largest ones take gigabytes.
    gc.collect()
    keras.utils.set_random_seed(1)


def step(parts: Parts, size: int) -> None:
    """Two training steps on made images; the first one moves only the head, which starts from zero."""
    network = FrozenBelow(parts.frozen, parts.trainable)
    # An epsilon for the tiny gradients that random weights pass down.
    network.compile(
        optimizer=keras.optimizers.Adam(0.01, epsilon=1e-30), loss="categorical_crossentropy", jit_compile=False
    )
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    for _ in range(2):
        assert np.isfinite(network.train_on_batch(images, np.eye(3, dtype=np.float32)[:2]))


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(weight) for weight in model.weights]


@pytest.mark.parametrize("name", EVERY)
def test_a_backbone_trains_in_both_phases(name):
    config = small(name)
    model = small_classifier(config)
    backbone = model.get_layer(BACKBONE)

    before = values(backbone)
    step(parts_for_feature_extraction(model, config.backbone, "float32"), config.image_size)
    moved = any(not np.array_equal(a, b) for a, b in zip(before, values(backbone), strict=True))
    assert moved == (name == "scratch_cnn")

    first_layer = first_trainable(backbone, config.backbone.unfreeze, config.backbone.blocks)
    parts = parts_for_finetuning(model, first_layer, freeze_batch_norm=True, precision="float32")
    learning = [weight.path for weight in backbone.trainable_weights]
    assert learning
    norms, below = batch_norm_digest(backbone), parts.frozen.digest
    before = values(backbone)
    step(parts, config.image_size)
    changed = {
        weight.path
        for weight, old in zip(backbone.weights, before, strict=True)
        if not np.array_equal(old, np.array(weight))
    }
    assert changed
    assert changed <= set(learning)
    assert batch_norm_digest(backbone) == norms
    again = parts_for_finetuning(model, first_layer, freeze_batch_norm=True, precision="float32")
    assert again.frozen.digest == below


@pytest.mark.parametrize("name", EVERY)
def test_lower_part_and_upper_part_equal_the_whole(name):
    config = small(name)
    backbone = build_backbone(config.backbone, config.image_size)
    images = np.random.default_rng(1).normal(size=(2, config.image_size, config.image_size, 3)).astype(np.float32)
    whole = backbone(images, training=False)
    blocks = block_starts(backbone, config.backbone.blocks)
    for depth in (
        {"all", "none", *blocks}
        if len(blocks) <= 6
        else {"all", "none", config.backbone.unfreeze, -1, -2, -len(blocks)}
    ):
        first_layer = first_trainable(backbone, depth, config.backbone.blocks)
        lower, upper = split_below(backbone, unfreeze(backbone, first_layer, freeze_batch_norm=True))
        np.testing.assert_allclose(upper(lower(images, training=False), training=False), whole, rtol=1e-5, atol=1e-5)


def test_unfreeze_depths_in_every_form():
    config = small("vgg16")
    backbone = build_backbone(config.backbone, 32)
    names = [layer.name for layer in backbone.layers]
    block5 = names.index("block5_conv1")
    assert block5 == 15  # The source article's fine_tune_at.
    for depth in ("block5", "block5_conv1", 15, "15", -1, "-1"):
        assert first_trainable(backbone, depth, config.backbone.blocks) == block5
    assert first_trainable(backbone, "all", config.backbone.blocks) == 0
    assert first_trainable(backbone, "none", config.backbone.blocks) == len(names)
    assert first_trainable(backbone, -2, config.backbone.blocks) == names.index("block4_conv1")
    lite = small("efficientnet_lite0")
    lite0 = build_backbone(lite.backbone, 32)
    assert lite0.layers[first_trainable(lite0, "block6", lite.backbone.blocks)].name == "block6a_expand_conv"
    assert lite0.layers[first_trainable(lite0, "block6b", lite.backbone.blocks)].name == "block6b_expand_conv"


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        ("block6", "did you mean block5"),
        (19, "layers 0 to 18"),
        (-6, "blocks -1 to -5"),
        ("nonsense", "block1, block2, block3, block4, block5"),
    ],
)
def test_an_unfreeze_depth_that_does_not_exist_is_refused(depth, expected):
    config = small("vgg16")
    with pytest.raises(PipelineError, match=f"finetune.unfreeze: .*{expected}"):
        first_trainable(build_backbone(config.backbone, 32), depth, config.backbone.blocks)


def test_batch_norm_may_be_left_to_learn():
    config = small("efficientnet_lite0")
    backbone = build_backbone(config.backbone, 32)
    first_layer = first_trainable(backbone, -1, config.backbone.blocks)
    unfreeze(backbone, first_layer, freeze_batch_norm=True)
    assert not any(layer.trainable for layer in batch_norms(backbone))
    unfreeze(backbone, first_layer, freeze_batch_norm=False)
    assert sum(layer.trainable for layer in batch_norms(backbone)) == 4


def test_a_network_that_divides_its_features_has_a_digest():
    config = small("scratch_cnn")
    frozen = parts_for_feature_extraction(small_classifier(config), config.backbone, "float32").frozen
    image = layers.Input((8, 8, 4))
    digests = set()
    for filters in (1, 2):
        left, right = keras.ops.split(image, 2, axis=-1)
        joined = layers.Concatenate()([layers.Conv2D(filters, 1, kernel_initializer="ones")(left), right])
        digests.add(replace(frozen, lower=keras.Model(image, joined)).digest)
    assert len(digests) == 2


def test_the_digest_notices_moving_statistics():
    config = small("efficientnet_lite0")
    backbone = build_backbone(config.backbone, 32)
    before = batch_norm_digest(backbone)
    next(batch_norms(backbone)).moving_mean.assign_add(np.full(32, 1e-6, np.float32))
    assert batch_norm_digest(backbone) != before


@pytest.mark.parametrize(
    ("name", "layer_count", "parameters"),
    [
        ("efficientnet_lite0", 141, 3_413_024),
        ("efficientnet_lite1", 186, 4_189_344),
        ("efficientnet_lite2", 186, 4_869_168),
    ],
)
def test_the_weights_of_lite_are_those_of_imagenet(name, layer_count, parameters):
    config = check(composed([f"backbone={name}"]))
    backbone = build_backbone(config.backbone, 96)
    assert len(backbone.layers) == layer_count
    assert backbone.count_params() == parameters
    random = build_backbone(small("efficientnet_lite0").backbone, 96)
    # Trained statistics differ from initial ones.
    assert np.abs(np.array(next(batch_norms(backbone)).moving_mean)).max() > 0.1
    assert np.abs(np.array(next(batch_norms(random)).moving_mean)).max() == 0


def test_weights_come_from_a_file(tmp_path, monkeypatch):
    source = build_backbone(small("vgg16").backbone, 32)
    source.save_weights(tmp_path / "mine.weights.h5")
    config = small("vgg16", f"backbone.weights={tmp_path / 'mine.weights.h5'}")
    loaded = build_backbone(config.backbone, 32)
    assert all(np.array_equal(a, b) for a, b in zip(values(source), values(loaded), strict=True))
    config.backbone.constructor, config.backbone.name = "VGG19", "vgg19"
    with pytest.raises(PipelineError, match="does not fit vgg19"):
        build_backbone(config.backbone, 32)


def test_weights_from_a_file_see_pixels_as_when_they_were_pretrained(tmp_path):
    """Keras builds EfficientNetB0 to B7 with another input scale unless their weights are called "imagenet"."""
    source = build_backbone(small("efficientnet_b0").backbone, 32)
    normalisation = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    normalisation.adapt_mean.assign([0.485, 0.456, 0.406])
    # What Keras's own files hold as the variance.
    normalisation.adapt_variance.assign([0.229, 0.224, 0.225])
    source.save_weights(tmp_path / "mine.weights.h5")
    loaded = build_backbone(small("efficientnet_b0", f"backbone.weights={tmp_path / 'mine.weights.h5'}").backbone, 32)
    seen = keras.Model(loaded.inputs[0], next(layer for layer in loaded.layers if layer.name == "stem_conv_pad").input)
    images = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(seen(images), expected, atol=1e-4)


def test_weights_that_can_not_be_downloaded_name_three_ways_on(monkeypatch):
    def no_network(**_):
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.applications, "VGG16", no_network)
    config = check(composed(["backbone=vgg16"]))
    with pytest.raises(PipelineError, match=r"ImageNet weights of vgg16 .*URL fetch failure") as refused:
        build_backbone(config.backbone, 32)
    for way in ("~/.keras/models", "backbone.weights=<path>", "backbone=efficientnet_lite0"):
        assert way in str(refused.value)


def test_random_weights_are_warned_of(caplog):
    build_backbone(small("vgg16").backbone, 32)
    assert "nothing is transferred" in caplog.text


@pytest.fixture
def grouped():
    """As ConvNeXt has it, with strides, a group of several channels and a nested model beside it."""
    keras.utils.set_random_seed(3)
    inputs = layers.Input((9, 9, 4))
    x = keras.Sequential([layers.Conv2D(8, 1)], name="stem")(inputs)
    x = layers.Conv2D(8, 3, padding="same", groups=8, bias_initializer="normal", name="depthwise")(x) + x
    x = layers.Conv2D(8, 3, strides=2, groups=8, use_bias=False, name="strided")(x)
    x = layers.Conv2D(8, 1, groups=4, name="by twos")(x)
    return keras.Model(inputs, layers.Activation("gelu")(x))


def test_with_depthwise_layers_a_network_computes_the_same_with_the_same_layers_in_order(grouped):
    twin = with_depthwise_layers(grouped)
    images = np.random.default_rng(1).normal(size=(2, 9, 9, 4)).astype(np.float32)
    np.testing.assert_allclose(twin(images), grouped(images), atol=1e-6)
    assert [layer.name for layer in twin.layers[1:]] == [layer.name for layer in grouped.layers[1:]]
    own = [layer.name for layer in twin.layers if isinstance(layer, layers.DepthwiseConv2D)]
    assert own == ["depthwise", "strided"]


def test_networks_without_grouped_convolutions_stay_as_they_are():
    model = keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.DepthwiseConv2D(3)])
    assert with_depthwise_layers(model) is model


def test_depthwise_layers_are_put_into_a_copy(grouped):
    before = grouped.get_weights()
    with_depthwise_layers(grouped)
    for one, other in zip(before, grouped.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_constructor_that_keras_lacks_is_named():
    config = small("resnet50")
    wrong = replace(config.backbone, constructor="ResNet5O", weights="imagenet")
    with pytest.raises(PipelineError, match=r"backbone.constructor: keras.applications has no 'ResNet5O'"):
        build_backbone(wrong, 32)
