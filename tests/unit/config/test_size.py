"""Sizes of images: one number for a square, [height, width] for another rectangle."""

import pytest

from pipeline.config.compose import checked_trials, composed, configuration, from_hydra
from pipeline.config.differences import command_line, differences
from pipeline.config.size import height_width, size_of, size_text
from pipeline.config.validate import ConfigError
from pipeline.jobs.identity import experiment_key


def test_the_height_comes_first():
    assert height_width([160, 320]) == (160, 320)
    assert height_width(224) == (224, 224)
    assert (size_of(160, 320), size_of(224, 224)) == ([160, 320], 224)
    assert (size_text([160, 320]), size_text(224)) == ("160 x 320 px", "224 px")


@pytest.mark.parametrize(
    ("override", "square"),
    [
        ("image_size=[96,96]", "image_size=96"),
        ("dataset.image_size=[96,96]", "dataset.image_size=96"),
        ("finetune.image_size=[96,96]", "finetune.image_size=96"),
        ("finetune.phases=[{epochs:1},{image_size:[96,96]}]", "finetune.phases=[{epochs:1},{image_size:96}]"),
    ],
)
def test_equal_sides_are_a_square(override, square):
    beside = "finetune.warmup_epochs=0"
    assert configuration([override, beside]) == configuration([square, beside])
    assert from_hydra(composed([override])) == configuration([square])


def test_a_square_has_one_key_and_each_rectangle_its_own():
    keys = [experiment_key(configuration([f"image_size={size}"])) for size in ("64", "[64,64]", "[64,96]", "[96,64]")]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_sweep_has_squares_and_rectangles():
    assert [each.image_size for each in checked_trials(["image_size=96,[64,128],[64,64]"])] == [96, [64, 128], 64]


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        (["dataset.image_size=[64,96]"], [64, 96]),
        (["dataset.image_size=[64,96]", "backbone=xception", "backbone.weights=random"], [71, 96]),
        (["dataset.image_size=[64,70]", "backbone=xception", "backbone.weights=random"], 71),
    ],
)
def test_a_data_sets_own_rectangle_is_one_that_the_backbone_can_take(overrides, size):
    assert configuration(overrides).image_size == size


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("image_size=[64]", "image_size: invalid value [64]; expected an integer >= 1, or [height, width], such as"),
        ("image_size=[64,96,3]", "image_size: invalid value [64, 96, 3]; expected an integer >= 1, or [height, width]"),
        ("image_size=[64,96.5]", "image_size: invalid value [64, 96.5]; expected"),
        ("image_size=[0,96]", "image_size: invalid value [0, 96]; expected"),
        ("image_size=[true,true]", "image_size: invalid value True; expected"),
        ("image_size=64x96", "image_size: invalid value '64x96'; expected"),
        ("image_size=null", "image_size: invalid value None; expected"),
        ("image_size=[31,96]", "expected at least 32 for each side"),
        ("image_size=[96,31]", "expected at least 32 for each side"),
        ("finetune.image_size=[96,31]", "finetune.image_size: invalid value [96, 31] with backbone=efficientnet_lite0"),
        ("finetune.phases=[{image_size:[96,31]}]", "finetune.image_size: invalid value [96, 31]"),
        ("finetune.phases=[{image_size:[96]}]", "finetune.phases: invalid value"),
        ("finetune.phases=5", "finetune.phases: invalid value 5"),
        ("dataset.image_size=[96]", "dataset.image_size: invalid value [96]; expected an integer >= 1, or"),
    ],
)
def test_a_wrong_size_is_an_error(override, said):
    with pytest.raises(ConfigError) as found:
        configuration([override])
    assert said in str(found.value)


def test_the_command_that_repeats_it_has_the_rectangle():
    overrides = ["image_size=[64,128]", "finetune.image_size=[32,64]"]
    assert command_line(differences(configuration(overrides))) == (
        "python -m pipeline 'image_size=[64,128]' 'finetune.image_size=[32,64]'"
    )
