"""What a configuration changes in the files of conf/ that it has chosen."""

import pytest

from pipeline.config.compose import GROUPS, composed
from pipeline.config.defaults import changed_settings
from pipeline.config.validate import check


def changed(*overrides: str):
    return changed_settings(check(composed(list(overrides))))


@pytest.mark.parametrize("backbone", GROUPS["backbone"])
def test_a_chosen_backbone_changes_its_name_alone(backbone):
    expected = {} if backbone == "efficientnet_lite0" else {"backbone.name": backbone}
    assert changed(f"backbone={backbone}") == expected


def test_changes_are_those_of_the_chosen_files(tmp_path):
    assert changed() == {}
    # 96 px is what the folder's backbone takes, and 64 px that of the bundled digits.
    folder = ["dataset=folder", f"dataset.path={tmp_path}"]
    assert changed(*folder) == {"dataset.name": "folder"}
    assert changed("seed=3", "image_size=96", "train.learning_rate=1e-2") == {
        "seed": 3,
        "image_size": 96,
        "train.learning_rate": 0.01,
    }
    # What refers to another setting follows it.
    assert changed("backbone.learning_rate=1e-5") == {"backbone.learning_rate": 1e-5, "finetune.learning_rate": 1e-5}
    assert changed("train.class_weight={a: 2.0}", *folder) == {
        "dataset.name": "folder",
        "train.class_weight.a": 2.0,
        "finetune.class_weight.a": 2.0,
    }
    assert changed("experiment=article_vgg16", *folder) == {
        "dataset.name": "folder",
        "backbone.name": "vgg16",
        "augment.name": "article",
        "train.name": "article",
        "finetune.name": "article",
        "finetune.unfreeze": 15,
    }
