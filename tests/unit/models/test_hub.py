"""KerasHub's presets: local folders, architectures without a download, and what is said where one can't be used."""

import json
import sys

import keras
import numpy as np
import pytest
from omegaconf import OmegaConf

pytest.importorskip("keras_hub")

from pipeline.config.compose import CONF, GROUPS, composed
from pipeline.config.validate import ConfigError, check
from pipeline.models.backbones import build_backbone
from pipeline.models.freezing import first_trainable, unfreeze
from pipeline.models.graph import split_below
from pipeline.models.hub_presets import ARCHITECTURES
from pipeline.system.errors import PipelineError
from tests.support.backbones import small, trained_looking
from tests.support.hub import MOBILENET, SIZE, answer, built, hugging_face_folder, preset_folder, small_network

IMAGES = np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
SHIPPED = [name for name in GROUPS["backbone"] if name.startswith("hub_")]
# One network of each kind, which the slow tests try at its real size.
TRIED = ("hub_dinov2_small", "hub_resnet_vd_50")


def hub(preset, *overrides: str):
    return small("hub", f"backbone.preset={preset}", "backbone.weights=preset", *overrides).backbone


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """The folder of a small ViT."""
    return preset_folder(small_network("vit"), tmp_path_factory.mktemp("vit") / "preset")


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """The folder of a small MobileNetV3."""
    return preset_folder(built("MobileNetBackbone", MOBILENET), tmp_path_factory.mktemp("mobilenet") / "preset")


def test_a_local_preset_has_its_weights(vit):
    backbone = build_backbone(hub(vit), SIZE)
    np.testing.assert_allclose(backbone(IMAGES)[:, 0, 0], answer(small_network("vit"), IMAGES)[:, 0], atol=2e-5)


def test_a_hugging_face_folder_has_its_weights(tmp_path):
    import keras_hub

    folder = hugging_face_folder(tmp_path / "google" / "vit")
    backbone = build_backbone(hub(folder), SIZE)
    expected = answer(keras_hub.models.Backbone.from_preset(str(folder)), IMAGES)
    np.testing.assert_allclose(backbone(IMAGES)[:, 0, 0], expected[:, 0], atol=2e-5)


def test_random_weights_have_the_architecture_of_the_folder(vit):
    backbone = build_backbone(hub(vit, "backbone.weights=random"), SIZE)
    pretrained = build_backbone(hub(vit), SIZE)
    assert [weight.shape for weight in backbone.weights] == [weight.shape for weight in pretrained.weights]
    assert not np.allclose(backbone(IMAGES), pretrained(IMAGES))


def test_of_a_network_for_images_and_texts_only_the_images_part_is_taken(tmp_path):
    import keras_hub

    vision, text = (
        small_network("siglip"),
        keras_hub.models.SigLIPTextEncoder(50, 16, 16, 1, 2, 32, max_sequence_length=4),
    )
    folder = preset_folder(keras_hub.models.SigLIPBackbone(vision, text, projection_dim=16), tmp_path / "both")
    backbone = build_backbone(hub(folder, "backbone.pooling=attention"), SIZE)
    np.testing.assert_allclose(backbone(IMAGES)[:, 0, 0], answer(vision, IMAGES), atol=2e-5)


def test_convolutions_are_plain_layers_at_another_image_size(mobilenet):
    backbone = build_backbone(hub(mobilenet, "backbone.pooling=average"), 48)
    assert {type(layer).__module__.partition(".")[0] for layer in backbone.layers} == {"keras"}
    assert sum(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in backbone.layers) == 5
    network = built("MobileNetBackbone", MOBILENET | {"image_shape": (48, 48, 3)})
    images = np.random.default_rng(1).normal(size=(2, 48, 48, 3)).astype(np.float32)
    np.testing.assert_allclose(backbone(images, training=False), answer(network, images), atol=1e-5)
    with pytest.raises(PipelineError, match=r"backbone.pooling: 'token' is for networks with tokens"):
        build_backbone(hub(mobilenet), 48)


def test_a_network_whose_layers_are_more_than_compositions_is_refused(tmp_path):
    arguments = {
        "depths": [1, 1],
        "embedding_size": 4,
        "hidden_sizes": [8, 16],
        "stem_channels": [3, 4, 4],
        "hidden_act": "relu",
        "use_learnable_affine_block": True,
        "stackwise_stage_filters": [[4, 4, 8, 1, 1, 3], [8, 8, 16, 1, 1, 3]],
        "apply_downsample": [False, True],
        "use_lightweight_conv_block": [False, False],
        "image_shape": (32, 32, 3),
    }
    import keras_hub

    folder = preset_folder(keras_hub.models.HGNetV2Backbone(**arguments), tmp_path / "hgnet")
    with pytest.raises(PipelineError, match="HGNetV2Backbone is not supported"):
        build_backbone(hub(folder, "backbone.pooling=average"), 32)


def test_a_network_for_texts_is_refused(tmp_path):
    import keras_hub

    text = keras_hub.models.BertBackbone(9, num_layers=1, num_heads=1, hidden_dim=2, intermediate_dim=2)
    folder = preset_folder(text, tmp_path / "bert")
    with pytest.raises(PipelineError, match="BertBackbone is not supported: it is not for images alone"):
        build_backbone(hub(folder, "backbone.pooling=average"), 32)


def test_the_preprocessing_that_a_preset_states_is_checked(tmp_path):
    import keras_hub

    folder = preset_folder(small_network("vit"), tmp_path / "vit")
    converter = keras_hub.layers.ViTImageConverter(image_size=(SIZE, SIZE), scale=1 / 127.5, offset=-1)
    converter.save_to_preset(str(folder))
    assert build_backbone(hub(folder, "backbone.preprocessing=tf"), SIZE)
    with pytest.raises(PipelineError, match=r"backbone.preprocessing: .*another one than torch; use tf"):
        build_backbone(hub(folder), SIZE)


def test_what_can_not_be_loaded_is_named(tmp_path, vit, monkeypatch):
    with pytest.raises(PipelineError, match=r"has no config.json; expected the folder of a KerasHub preset"):
        build_backbone(hub(tmp_path), SIZE)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(PipelineError, match=r"can't be loaded \(KerasHub has no converter.*check that the folder"):
        build_backbone(hub(tmp_path), SIZE)
    with pytest.raises(PipelineError, match=r"'nonsense' can't be loaded \(.*copy ~/.cache/kagglehub"):
        build_backbone(hub("nonsense"), SIZE)
    known = hub(vit)
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(PipelineError, match=r'backbone=hub: KerasHub is not installed .*run pip install "\.\[hub\]"'):
        build_backbone(known, SIZE)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone=hub"], "backbone.preset: required with backbone=hub"),
        (["backbone=hub", "backbone.preset=./nowhere"], "the folder './nowhere' does not exist"),
        (["backbone=hub_vit_base", "backbone.weights=imagenet"], "backbone.weights: .*use preset"),
        (["backbone.weights=preset"], "backbone.weights: invalid value 'preset' with backbone=efficientnet_lite0"),
        (["backbone.preset=dinov2_small"], "backbone.preset: invalid value 'dinov2_small'"),
        (["backbone.pooling=token"], "backbone.pooling: invalid value 'token' with backbone=efficientnet_lite0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        check(composed(overrides))


def test_every_shipped_preset_is_one_of_keras_hub_whose_architecture_is_known():
    import keras_hub

    presets = [OmegaConf.load(CONF / "backbone" / f"{name}.yaml").preset for name in SHIPPED]
    assert set(presets) == set(ARCHITECTURES)
    for preset, (kind, _) in ARCHITECTURES.items():
        # A preset of images and texts is that of the network with both encoders.
        owner = kind.replace("VisionEncoder", "Backbone")
        assert preset in getattr(keras_hub.models, owner).presets


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in TRIED else pytest.mark.every_backbone) for name in SHIPPED],
)
def test_a_shipped_backbone_at_its_real_size_can_be_cut_saved_and_loaded(name, tmp_path):
    keras.backend.clear_session()
    config = check(composed([f"backbone={name}", "backbone.weights=random", "image_size=224"]))
    settings, size = config.backbone, config.backbone.image_size
    backbone = build_backbone(settings, size)
    trained_looking(backbone)
    images = np.random.default_rng(1).normal(size=(1, size, size, 3)).astype(np.float32)
    whole = np.asarray(backbone(images, training=False))
    for depth in ("all", settings.unfreeze, -1, "none"):
        learning = unfreeze(backbone, first_trainable(backbone, depth, settings.blocks), freeze_batch_norm=True)
        lower, upper = split_below(backbone, learning)
        found = upper(lower(images, training=False), training=False)
        np.testing.assert_allclose(found, whole, atol=1e-4 * np.abs(whole).max())
    backbone.save(tmp_path / "it.keras")
    again = keras.saving.load_model(tmp_path / "it.keras", safe_mode=True)
    np.testing.assert_allclose(again(images, training=False), whole, atol=1e-5 * np.abs(whole).max())
