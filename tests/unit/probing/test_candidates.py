"""Which backbones are probed, and with which settings."""

import pytest

from pipeline.config.compose import configuration
from pipeline.probing.candidates import candidates, has_weights
from pipeline.system.errors import PipelineError
from tests.support.backbones import BACKBONES

LITE = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]


@pytest.fixture(autouse=True)
def keras_home(tmp_path, monkeypatch):
    """Empty folders of Keras and KerasHub, whatever this machine has."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "mine.weights.h5").touch()
    return tmp_path / "mine.weights.h5"


def names(overrides=(), wanted=None) -> list[str]:
    return [each.backbone.name for each in candidates(overrides, wanted)]


def test_all_whose_weights_are_here_are_probed_the_configured_one_first(keras_home, weights):
    assert names() == LITE
    assert names(["backbone=efficientnet_lite1"]) == [LITE[1], LITE[0], LITE[2]]
    (keras_home / "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    # With its classifier, which is no backbone.
    (keras_home / "vgg16_weights_tf_dim_ordering_tf_kernels.h5").touch()
    assert names() == [*LITE, "resnet50_v2"]
    assert names(["backbone=vgg19", f"backbone.weights={weights}"]) == ["vgg19", *LITE, "resnet50_v2"]


def test_each_has_its_own_image_size_unless_one_is_set():
    folder = ["dataset=folder", "dataset.path=/x"]
    assert [each.image_size for each in candidates(folder, None)] == [224, 240, 260]
    assert [each.image_size for each in candidates([*folder, "image_size=64"], None)] == [64, 64, 64]


def test_a_preset_is_probed_once_its_weights_are_downloaded_if_its_patches_fit(tmp_path, capsys):
    folder = tmp_path / "kaggle" / "models" / "keras" / "dinov2" / "keras" / "dinov2_small" / "1"
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    assert names(["image_size=112"]) == LITE
    (folder / "model.weights.h5").touch()
    assert names(["image_size=112"]) == [*LITE, "hub_dinov2_small"]
    assert names(["image_size=96"]) == LITE
    assert (
        "hub_dinov2_small is left out: image_size: invalid value 96; expected a multiple of 14"
        in capsys.readouterr().err
    )
    assert names(["image_size=[112,140]"]) == [*LITE, "hub_dinov2_small"]
    assert names(["image_size=[112,96]"]) == names(["image_size=[96,112]"]) == LITE
    own = ["backbone=hub", f"backbone.preset={tmp_path}", "image_size=96"]
    assert names(own) == ["hub", *LITE]


def test_settings_of_the_configured_backbone_are_not_those_of_the_others(weights):
    own = ["backbone=vgg16", f"backbone.weights={weights}", "backbone.learning_rate=0.5", "finetune.unfreeze=block5"]
    vgg16, resnet50 = candidates([*own, "seed=7"], ["vgg16", "resnet50", "vgg16"])
    assert (vgg16.backbone.weights, vgg16.backbone.learning_rate) == (str(weights), 0.5)
    assert resnet50.backbone == configuration(["backbone=resnet50"]).backbone
    # No block of a residual network has this name.
    assert resnet50.finetune.unfreeze == "auto"
    assert resnet50.seed == 7


def test_a_backbone_that_the_images_are_too_small_for_is_left_out_unless_it_is_named(keras_home, capsys):
    (keras_home / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    assert names(["image_size=64"]) == LITE
    assert "inception_v3 is left out: image_size: invalid value 64" in capsys.readouterr().err
    with pytest.raises(PipelineError, match="image_size: invalid value 64"):
        names(["image_size=64"], ["inception_v3"])


@pytest.mark.parametrize(
    ("overrides", "wanted", "message"),
    [
        ([], ["resnet_50"], r"--backbones resnet_50: unknown backbone; did you mean resnet50\?"),
        ([], ["scratch_cnn"], "--backbones: scratch_cnn has random weights here"),
        (["backbone=vgg16", "backbone.weights=random"], ["vgg16"], "--backbones: vgg16 has random weights here"),
        (["train.epocs=2"], None, "train.epocs"),
        (["image_size=16"], None, "image_size: invalid value 16"),
    ],
)
def test_what_can_not_be_probed_is_an_error(overrides, wanted, message):
    with pytest.raises(PipelineError, match=message):
        names(overrides, wanted)


@pytest.mark.every_backbone
def test_the_files_that_keras_asks_for_are_those_of_the_backbone(keras_home, monkeypatch):
    from keras.src.utils import file_utils

    from pipeline.models.backbones import build_backbone

    asked = []

    def get_file(name: str, *_args, **_options) -> str:
        asked.append(name)
        raise FileNotFoundError(name)

    monkeypatch.setattr(file_utils, "get_file", get_file)
    configs = {name: configuration([f"backbone={name}"]) for name in BACKBONES}
    downloaded = {
        name: config
        for name, config in configs.items()
        if config.backbone.weights == "imagenet" and not has_weights(config.backbone.constructor, "imagenet")
    }
    assert len(downloaded) == 40
    for name, config in downloaded.items():
        with pytest.raises(PipelineError):
            build_backbone(config.backbone, 224)
        (keras_home / asked[-1]).touch()
        assert set(names()) == {name, *LITE}, asked[-1]
        (keras_home / asked[-1]).unlink()
