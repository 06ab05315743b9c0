"""What a configuration changes in the files of conf/ that it has chosen, and the command that repeats it."""

import shlex

import pytest

from pipeline.config.compose import composed, with_params
from pipeline.config.differences import command_line, differences
from pipeline.config.validate import check
from tests.support.backbones import BACKBONES


def changed(*overrides: str):
    return differences(check(composed(list(overrides))))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_chosen_backbone_changes_its_name_alone(backbone):
    expected = {} if backbone == "efficientnet_lite0" else {"backbone": backbone}
    assert changed(f"backbone={backbone}") == expected


def test_changes_are_those_of_the_chosen_files(tmp_path):
    assert changed() == {}
    # 96 px is what the folder's backbone takes, and 64 px that of the bundled digits.
    folder = ["dataset=folder", f"dataset.path={tmp_path}"]
    assert changed(*folder) == {"dataset": "folder", "dataset.path": "..."}
    assert changed("seed=3", "image_size=96", "train.learning_rate=1e-2") == {
        "seed": 3,
        "image_size": 96,
        "train.learning_rate": 0.01,
    }
    assert changed("image.resize=pad", "image.pad_value=[1, 2, 3]") == {
        "image.resize": "pad",
        "image.pad_value": [1, 2, 3],
    }
    # What refers to another setting follows it.
    assert changed("backbone.learning_rate=1e-5") == {"backbone.learning_rate": 1e-5, "finetune.learning_rate": 1e-5}
    assert changed("train.class_weight={a: 2.0}", *folder) == {
        "dataset": "folder",
        "dataset.path": "...",
        "train.class_weight": {"a": 2.0},
        "finetune.class_weight": {"a": 2.0},
    }
    assert changed("experiment=article_vgg16", *folder) == {
        "dataset": "folder",
        "dataset.path": "...",
        "image.resize": "stretch",
        "backbone": "vgg16",
        "augment": "article",
        "train": "article",
        "finetune": "article",
        "finetune.unfreeze": 15,
    }


def test_the_command_repeats_the_configuration():
    settings = changed(
        *with_params(
            ["backbone=vgg16", "augment=light", "seed=3", "image.pad_value=[1, 2, 3]", "train.class_weight={7: 2.0}"]
        )
    )
    line = command_line(settings)
    assert line.startswith("python -m pipeline backbone=vgg16 augment=light seed=3 'image.pad_value=[1,2,3]' ")
    assert changed(*with_params(shlex.split(line)[3:])) == settings
