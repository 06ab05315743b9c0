"""Labels and splits from folders and from CSV files, and a clear error for each useless one."""

import os

import pytest

from pipeline.data.listing import list_folder
from pipeline.data.sources import image_folder, list_images
from pipeline.system.errors import PipelineError
from tests.support.datasets import dataset, table_dataset
from tests.support.images import touch


def test_classes_are_sorted_and_pictures_by_path(images):
    listing = list_folder(images)
    assert listing.classes == ["blue", "green", "red"]
    assert [image.path for image in listing.images] == sorted(image.path for image in listing.images)
    assert {image.split for image in listing.images} == {None}


def test_given_splits_under_any_of_their_names(tmp_path):
    touch(*(tmp_path / split / label / "a.jpg" for split in ("Train", "test", "val") for label in "xy"))
    found = {(image.split, image.label) for image in list_folder(tmp_path).images}
    assert found == {(split, label) for split in ("train", "test", "validation") for label in "xy"}


def test_nested_folders_upper_case_endings_and_every_format(tmp_path):
    touch(
        tmp_path / "x" / "deep" / "er" / "a.JPG",
        tmp_path / "x" / "b.WebP",
        tmp_path / "y" / "c.gif",
        tmp_path / "y" / "d.BMP",
    )
    assert [(p.path, p.label) for p in list_folder(tmp_path).images] == [
        ("x/b.WebP", "x"),
        ("x/deep/er/a.JPG", "x"),
        ("y/c.gif", "y"),
        ("y/d.BMP", "y"),
    ]


def test_other_files_are_counted_with_the_reason(tmp_path):
    touch(
        tmp_path / "x" / "a.png",
        tmp_path / "y" / "a.png",
        tmp_path / "x" / "notes.txt",
        tmp_path / "loose.png",
        tmp_path / "x" / ".hidden.png",
    )
    assert list_folder(tmp_path).left_out == {"ending .txt": 1, "outside the class folders": 1}


def test_a_class_may_be_called_train(tmp_path):
    touch(tmp_path / "train" / "a.png", tmp_path / "bus" / "a.png", tmp_path / "test" / "a.png")
    assert list_folder(tmp_path).classes == ["bus", "test", "train"]


def test_two_classes_may_be_the_same_folder(tmp_path):
    touch(tmp_path / "x" / "a.png", tmp_path / "y" / "b.png")
    (tmp_path / "z").symlink_to(tmp_path / "y")
    assert [image.path for image in list_folder(tmp_path).images] == ["x/a.png", "y/b.png", "z/b.png"]


def test_a_loop_of_links_ends(tmp_path):
    touch(tmp_path / "x" / "a.png", tmp_path / "y" / "b.png")
    (tmp_path / "x" / "again").symlink_to(tmp_path)
    assert [image.label for image in list_folder(tmp_path).images] == ["x", "y"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "the folder is empty"),
        (["x/a.txt", "y/b.txt"], "has no images"),
        (["x/a.png"], "has only one class"),
        (["Cat/a.png", "cat/b.png"], "differ only in case"),
        (["train/x/a.png", "train/y/a.png", "test/z/a.png"], "test/ has classes that train/ lacks: 'z'"),
        (["train/x/a.png", "train/y/a.png", "val/x/a.png", "validation/y/a.png"], "are names of the same split"),
    ],
)
def test_useless_folders_are_refused(tmp_path, files, message):
    touch(*(tmp_path / file for file in files))
    with pytest.raises(PipelineError, match=message):
        list_folder(tmp_path)


def test_a_folder_that_may_not_be_read_is_left_out_and_said(tmp_path, monkeypatch):
    touch(tmp_path / "x" / "a.png", tmp_path / "y" / "b.png", tmp_path / "y" / "locked" / "c.png")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    listing = list_folder(tmp_path)
    assert len(listing.images) == 2
    assert listing.left_out == {"folder that can't be read (Permission denied)": 1}


def test_a_row_a_picture(tmp_path):
    config = table_dataset(tmp_path, "path,label\nb/2.png,cat\na/1.png,dog\nc 3.png,cat\n")
    listing = list_images(config)
    assert [(p.path, p.label, p.split, p.group) for p in listing.images] == [
        ("a/1.png", "dog", None, None), ("b/2.png", "cat", None, None), ("c 3.png", "cat", None, None),
    ]  # fmt: skip
    assert listing.classes == ["cat", "dog"]
    assert image_folder(config) == tmp_path


def test_splits_groups_and_other_names_of_columns(tmp_path):
    rows = "file,kind,part,patient\n1.png,cat,train,p1\n2.png,dog,Val,p2\n3.png,dog,training,p3\n4.png,cat,test,p1\n"
    columns = "dataset.columns={path: file, label: kind, split: part}"
    listing = list_images(table_dataset(tmp_path, "\ufeff" + rows, columns, "dataset.groups=patient"))
    assert [p.split for p in listing.images] == ["train", "validation", "train", "test"]
    assert [p.group for p in listing.images] == ["p1", "p2", "p3", "p1"]
    without = list_images(table_dataset(tmp_path, rows, "dataset.columns={path: file, label: kind, split: null}"))
    assert {p.split for p in without.images} == {None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n", "the file has no rows"),
        ("name,label\nx,y\n", "has no column 'path'; its columns are name, label. Set the names in dataset.columns"),
        ("path,label\n1.png,\n,dog\n", "row 2 has no label"),
        ("path,label\n1.png,a\n1.png,b\n", "'1.png' occurs in 2 rows"),
        ("path,label,split\n1.png,a,train\n2.png,b,other\n", "row 3 has the split 'other'; allowed splits are train"),
        ("path,label,split\n1.png,a,train\n2.png,b,\n", "1 rows have no split, such as '2.png'"),
        ("path,label,split\n1.png,a,train\n2.png,b,train\n3.png,c,test\n", "no training row has these classes: 'c'"),
        ("path,label\n1.png,a\n2.png,a\n", "has only one class"),
        ("path,label\n1.png,A\n2.png,a\n", "differ only in case"),
    ],
)
def test_a_useless_table_is_refused(tmp_path, text, said):
    with pytest.raises(PipelineError) as caught:
        list_images(table_dataset(tmp_path, text))
    assert said in str(caught.value)


def test_many_problems_are_not_all_told(tmp_path):
    with pytest.raises(PipelineError, match="and 15 more"):
        list_images(table_dataset(tmp_path, "path,label\n" + "1.png,\n" * 24))


def test_no_text_is_no_table(tmp_path):
    (tmp_path / "images.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(PipelineError, match="is not a CSV file in UTF-8"):
        list_images(dataset(tmp_path / "images.csv", source="csv"))
