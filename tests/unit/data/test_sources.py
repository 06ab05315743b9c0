"""Labels from folders, splits where they are given, and a clear error for each useless folder."""

import os
import shutil

import pytest

from pipeline.data.sources import image_folder, list_images, listing_digest
from pipeline.data.sources.folder import list_folder
from pipeline.system.errors import PipelineError
from tests.support.datasets import dataset
from tests.support.images import draw, write_images


def touch(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


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
        ([], "has no images"),
        (["x/a.txt", "y/b.txt"], "has no images"),
        (["x/a.png"], "has only one class"),
        (["Cat/a.png", "cat/b.png"], "differ only in case"),
        (["train/x/a.png", "train/y/a.png", "test/z/a.png"], "test/ has classes that train/ lacks: 'z'"),
        (["train/x/a.png", "train/y/a.png", "val/x/a.png", "validation/y/a.png"], "mean the same split"),
    ],
)
def test_useless_folders_are_refused(tmp_path, files, message):
    touch(*(tmp_path / file for file in files))
    with pytest.raises(PipelineError, match=message):
        list_folder(tmp_path)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(PipelineError, match=r"dataset\.path: .* does not exist .*one sub-folder of images per class"):
        image_folder(dataset(tmp_path / "nowhere"))
    touch(tmp_path / "file")
    with pytest.raises(PipelineError, match="is a file"):
        image_folder(dataset(tmp_path / "file"))


def test_the_digest_notices_each_kind_of_change(tmp_path):
    folder = write_images(tmp_path / "images", per_class=2)
    digests = [listing_digest(dataset(folder))]
    assert listing_digest(dataset(folder)) == digests[0]
    draw((1, 2, 3), 0).save(folder / "red" / "new.png")
    digests.append(listing_digest(dataset(folder)))
    (folder / "red" / "new.png").rename(folder / "blue" / "new.png")
    digests.append(listing_digest(dataset(folder)))
    status = (folder / "blue" / "000.png").stat()
    os.utime(folder / "blue" / "000.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    digests.append(listing_digest(dataset(folder)))
    shutil.rmtree(folder / "green")
    digests.append(listing_digest(dataset(folder)))
    assert len(set(digests)) == 5


def test_groups_are_read_off_the_path(tmp_path):
    touch(*(tmp_path / label / f"p{patient}-{number}.png" for label in "xy" for patient in (1, 2) for number in (1, 2)))
    [first, *_, last] = list_images(dataset(tmp_path, r"dataset.groups='(p\d+)-'")).images
    assert (first.group, last.group) == ("p1", "p2")
    whole = list_images(dataset(tmp_path, r"dataset.groups='p\d'")).images
    assert {image.group for image in whole} == {"p1", "p2"}


def test_a_path_without_a_group_is_named(tmp_path):
    touch(tmp_path / "x" / "p1.png", tmp_path / "y" / "stray.png")
    with pytest.raises(PipelineError, match=r"finds no group for 1 of 2 images, first 'y/stray.png'; change it"):
        list_images(dataset(tmp_path, r"dataset.groups='p\d'"))


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
