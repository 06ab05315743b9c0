"""Splits are told from classes by the whole tree; what is unclear is an error that shows the tree and the settings."""

import pytest

from pipeline.config import SplitFoldersConfig
from pipeline.data.listing import list_folder
from pipeline.system.errors import PipelineError
from tests.support.images import touch

THREE = {"train", "validation", "test"}


def make(base, *folders):
    touch(*(base / folder / f"{number}.png" for folder in folders for number in range(3)))
    return base


def each(splits, classes):
    return [f"{split}/{name}" for split in splits for name in classes]


@pytest.mark.parametrize(
    ("folders", "classes", "splits"),
    [
        (["train", "bus", "tram"], ["bus", "train", "tram"], {None}),
        (["test", "swab"], ["swab", "test"], {None}),
        (["valid", "invalid"], ["invalid", "valid"], {None}),
        (["test/a", "swab"], ["swab", "test"], {None}),
        (each(["train", "val", "test"], "ab"), ["a", "b"], THREE),
        (each(["Training", "valid", "TESTING"], "ab"), ["a", "b"], THREE),
        (each(["training_set", "dev_set", "test_set"], "ab"), ["a", "b"], THREE),
        (each(["TrainImages", "validationImages", "TestImages"], "ab"), ["a", "b"], THREE),
        (each(["train2017", "val2017", "test-1"], "ab"), ["a", "b"], THREE),
        (each(["my data train", "my data dev", "my data test"], "ab"), ["a", "b"], THREE),
        (each(["trainset", "devset", "testset"], "ab"), ["a", "b"], THREE),
        (each(["train/train", "test/test"], "ab"), ["a", "b"], {"train", "test"}),
        (each(["seg_train/seg_train", "seg_test/seg_test"], "ab"), ["a", "b"], {"train", "test"}),
        (each(["train", "test"], "01"), ["0", "1"], {"train", "test"}),
        (each(["train"], "ab"), ["a", "b"], {"train"}),
        # Years and patients are parts of a class.
        (each(["cats", "dogs"], ["2019", "2020"]), ["cats", "dogs"], {None}),
        (["ill/patient1", "ill/patient2", "well/patient3", "well/patient4"], ["ill", "well"], {None}),
        (each(["cats", "dogs"], ["images"]), ["cats", "dogs"], {None}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_classes_and_splits(tmp_path, folders, classes, splits):
    listing = list_folder(make(tmp_path, *folders))
    assert (listing.classes, {image.split for image in listing.images}) == (classes, splits)
    assert len(listing.images) == 3 * len(folders)
    assert not listing.left_out


@pytest.mark.parametrize(
    ("folders", "left_out"),
    [
        (["seg_pred"], {"in seg_pred/, which is not read as a split": 3}),
        (["pred/pred", "extra"], {f"in {name}/, which is not read as a split": 3 for name in ("pred", "extra")}),
        (["val/images"], {"in val/, which is not read as a split": 3}),
        (each(["copy/train", "copy/test"], "ab"), {"in copy/, which is not read as a split": 12}),
        (["train", "test/a"], {"outside the class folders": 3}),
    ],
)
def test_what_is_beside_the_splits_is_left_out_with_counts(tmp_path, folders, left_out):
    listing = list_folder(make(tmp_path, *each(["train", "test"], "ab"), *folders))
    assert listing.classes == ["a", "b"]
    assert listing.left_out == left_out
    assert len(listing.images) == 12


@pytest.mark.parametrize("split", ["pred", "unlabeled"])
def test_a_training_split_alone_may_have_unlabelled_images_beside_it(tmp_path, split):
    listing = list_folder(make(tmp_path, *each(["train"], "ab"), split, "test"))
    assert {image.split for image in listing.images} == {"train"}
    assert sum(listing.left_out.values()) == 6


TOOLS = ["@eaDir", "lost+found", "$RECYCLE.BIN", "$Recycle.Bin", "__MACOSX", ".Trash", "System Volume Information",
         ".ipynb_checkpoints", "#recycle", ".AppleDouble", "@Recycle", "Network Trash Folder", "__pycache__"]  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_folders_of_tools_are_left_out_on_each_level(tmp_path, name):
    listing = list_folder(make(tmp_path, "cat", "dog", name, f"cat/{name}/deep"))
    assert listing.classes == ["cat", "dog"]
    assert len(listing.images) == 6
    assert listing.left_out == {f"in {name}/, a hidden folder or one of a tool": 6}


def test_snapshots_are_not_even_counted(tmp_path):
    assert list_folder(make(tmp_path, "cat", "dog", ".snapshot/cat")).left_out == {}


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["train", "test"], ["but they have no class folders", "test/: 3 images", "dataset.splits.train=."]),
        (
            each(["test", "val"], "ab"),
            ["no training split with class", "dataset.splits.test=test", "test/: a/ (3), b/"],
        ),
        (["train", *each(["test"], "ab")], ["no training split with class folders", "train/: 3 images"]),
        (each(["test", "stuff"], "ab"), ["no training split", "stuff/: a/ (3), b/ (3)"]),
        (each(["train", "test", "new"], "ab"), ["new/ may be splits", "dataset.splits.test=test"]),
        ([*each(["train"], ["ice", "regional"]), "bus", "tram"], ["bus/, tram/ may be splits or classes"]),
        (each(["fold1", "fold2"], "ab"), ["same sub-folders", "dataset.splits.train=fold1 dataset.splits.test=fold2"]),
        (each(["x/x", "y/y"], "ab"), ["dataset.splits.train=x/x dataset.splits.test=y/y", "class_level=leaf"]),
        (each(["训练", "测试"], "ab"), ["\"dataset.splits.train='测试'\" \"dataset.splits.test='训练'\""]),
        (each(["train/images", "test/images"], "ab"), ["splits.train=train/images dataset.splits.test=test/images"]),
        (["all/rose", "all/tulip"], ["a level too many", "dataset.path={base}/all"]),
        (each(["x/y/train", "x/y/test"], "ab"), ["a level too many", "dataset.path={base}/x/y"]),
        (["cells/ill", "cells/well", "ill", "well"], ["the same folders as its parent", "dataset.splits.train=cells"]),
        (each(["k1/train", "k1/test", "k2/train", "k2/test"], "ab"), ["called like splits", "dataset.path={base}/k1"]),
        (each(["cats", "dogs"], ["train", "test"]), ["called like splits", "put the splits on top"]),
        (each(["train_photos", "train_masks", "test"], "ab"), ["names of the same split", "splits.train=train_masks"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_unclear_folders_are_shown_with_the_settings_that_say_what_is_meant(tmp_path, folders, said):
    with pytest.raises(PipelineError) as caught:
        list_folder(make(tmp_path, *folders))
    message = str(caught.value)
    assert all(part.format(base=tmp_path).lower() in message.lower() for part in said), message
    assert "The folders, with images:\n  " in message
    assert len(message.split()) < 60


def named(train, validation=None, test=None):
    return SplitFoldersConfig(train=train, validation=validation, test=test)


@pytest.mark.parametrize(
    ("folders", "splits", "level", "classes", "count"),
    [
        (each(["train", "test"], "ab"), named("."), None, ["test", "train"], {None: 12}),
        (each(["fold1", "fold2", "fold3"], "ab"), named("fold2", test="fold3"), None, ["a", "b"], {"train": 6, "test": 6}),
        (each(["x/y", "z"], "ab"), named("x/y/", "z"), None, ["a", "b"], {"train": 6, "validation": 6}),
        (each(["fold1", "fold2"], "ab"), named(None), "leaf", ["a", "b"], {None: 12}),
        (each(["fold1", "fold2"], "ab"), named(None), "top", ["fold1", "fold2"], {None: 12}),
        (["pets/cat", "pets/dog", "wild/fox"], named(None), "leaf", ["cat", "dog", "fox"], {None: 9}),
        (["pets/cat", "pets/dog", "wild/fox"], named(None), None, ["pets", "wild"], {None: 9}),
        (each(["train", "test"], ["p/cat", "p/dog", "w/fox"]), named(None), "leaf", ["cat", "dog", "fox"],
         {"train": 9, "test": 9}),
        (each(["cafe\u0301"], "ab"), named("caf\u00e9"), None, ["a", "b"], {"train": 6}),
    ],
)  # fmt: skip
def test_settings_say_what_is_meant(tmp_path, folders, splits, level, classes, count):
    listing = list_folder(make(tmp_path, *folders), splits, level)
    found = [image.split for image in listing.images]
    assert (listing.classes, {split: found.count(split) for split in found}) == (classes, count)


def test_a_named_folder_has_to_be_there(tmp_path):
    with pytest.raises(PipelineError, match=r"dataset\.splits\.test: 'tset' is not a folder there"):
        list_folder(make(tmp_path, *each(["train", "test"], "ab")), named("train", test="tset"))


def test_sub_folders_that_look_like_classes_are_pointed_out(tmp_path):
    folder = make(tmp_path, "animals/cat", "animals/dog", "vehicles/bus", "vehicles/tram")
    [remark] = list_folder(folder).remarks
    assert "(cat, dog, bus and 1 more), use dataset.class_level=leaf" in remark
    assert list_folder(folder, class_level="top").remarks == []


def test_a_thousand_class_folders_with_the_same_sub_folders(tmp_path):
    for number in range(1000):
        touch(*(tmp_path / f"class {number}" / inner / "a.png" for inner in ("left", "right")))
    with pytest.raises(PipelineError, match="and 995 more folders") as caught:
        list_folder(tmp_path)
    assert len(str(caught.value).split()) < 75


def test_very_deep_folders_end(tmp_path):
    make(tmp_path, "a", "b", "a/" + "/".join("d" * 150))
    assert list_folder(tmp_path).left_out == {"folder below 100 others": 1}
