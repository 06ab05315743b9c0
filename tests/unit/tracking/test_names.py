"""Names of runs say what was varied, and data sets are called by their folders."""

import pytest

from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.system.processes import SWEEP
from pipeline.tracking.names import dataset_name, run_name


def name(*overrides: str, depth: str | None = None) -> str:
    return run_name("0123456789abcdef", check(composed(list(overrides))), depth)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "efficientnet_lite0 digits, unfreeze auto, 012345"),
        (["backbone=vgg16", "finetune.unfreeze=-2"], "vgg16 digits, unfreeze -2, 012345"),
        (
            ["seed=3", "train.epochs=5", "image_size=96", "finetune.learning_rate=1e-3"],
            "efficientnet_lite0 digits, unfreeze auto, image_size 96, finetune.learning_rate 0.001, train.epochs 5, seed 3, 012345",
        ),
        (["augment=none", "finetune=light"], "efficientnet_lite0 digits, unfreeze block5a, augment none, finetune light, 012345"),
        (
            ["seed=3", *(f"train.{each}" for each in ("epochs=5", "dropout=0.5", "l2=0.1", "batch_size=8", "momentum=0.5"))],
            "efficientnet_lite0 digits, unfreeze auto, train.epochs 5, seed 3, train.batch_size 8, train.momentum 0.5, train.dropout 0.5, 1 more, 012345",
        ),
        (["image_size=[64,128]"], "efficientnet_lite0 digits, unfreeze auto, image_size [64, 128], 012345"),
        (["hardware.intra_op_threads=2"], "efficientnet_lite0 digits, unfreeze auto, 012345"),
    ],
)  # fmt: skip
def test_a_run_is_called_by_what_differs_from_the_defaults(overrides, expected):
    assert name(*overrides) == expected


def test_the_chosen_depth_and_what_a_sweep_varies_are_in_the_name_even_at_the_default(monkeypatch):
    monkeypatch.setenv(SWEEP, "dataset=digits augment=light,live finetune.learning_rate=3e-4,1e-3")
    varied = "augment live, finetune.learning_rate 0.0003"
    assert name(depth="all") == f"efficientnet_lite0 digits, unfreeze all, {varied}, 012345"


def test_a_data_set_is_called_by_its_folder_or_table(tmp_path):
    def named(*overrides):
        return dataset_name(check(composed(list(overrides))).dataset)

    assert named("dataset=folder", f"dataset.path={tmp_path}/flowers.v2/") == "flowers.v2"
    assert named("dataset=csv", f"dataset.path={tmp_path}/labels.csv") == "labels.csv"
    assert named() == "digits"
