"""Files of a table: found as a person would find them, or an error before any work that says how they are."""

import pytest

from pipeline.data.sources import check_images, list_images
from pipeline.system.errors import PipelineError
from tests.support.datasets import dataset
from tests.support.images import touch


def table(folder, names, files, *overrides, home=""):
    touch(*(folder / file for file in files))
    (folder / home).mkdir(exist_ok=True)
    rows = [f'"{name}",{"ab"[number % 2]}' for number, name in enumerate(names)]
    (folder / home / "t.csv").write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    return dataset(folder / home / "t.csv", *overrides, source="csv")


@pytest.mark.parametrize(
    ("names", "files", "pattern"),
    [
        (["x\\1.png", "x\\y\\2.png"], ["x/1.png", "x/y/2.png"], None),
        (["x\\1.png", "x/2.png"], ["x\\1.png", "x/2.png"], None),
        ([" 1.png", "2.png "], ["1.png", "2.png"], None),
        ([" 1.png", "2.png"], [" 1.png", "2.png"], None),
        (["./1.png", "x//2.png"], ["1.png", "x/2.png"], None),
        (["caf\u00e9.png", "x/u\u0308.png"], ["cafe\u0301.png", "x/\u00fc.png"], None),
        (["1", "2"], ["images/1.jpg", "images/2.jpg"], "images/*.jpg"),
        (["007", "2"], ["i/007.jpg", "i/2.PNG"], "i/*.*"),
        (["a.b", "c"], ["i/a.b.jpg", "i/c.png"], "i/*.*"),
        (["x/1", "y\\2"], ["i/x/1.jpg", "i/y/2.jpg"], "i/*.jpg"),
        (["1.jpg", "2.jpg"], ["train/1.jpg", "train/2.jpg"], "train/*"),
        (["1", "2"], ["i/img_1_rgb.jpg", "i/img_2_rgb.jpg"], "i/img_*_rgb.jpg"),
    ],
)
def test_names_stand_for_files(tmp_path, names, files, pattern):
    config = table(tmp_path, names, files, *([f"dataset.images={pattern}"] if pattern else []))
    check_images(config)
    assert [image.path for image in list_images(config).images] == sorted(files)


@pytest.mark.parametrize(
    ("names", "files", "home", "hint"),
    [
        (["1", "2"], ["images/1.jpg", "images/2.jpg"], "", "Use dataset.images=images/*.jpg, which finds 2 of 2"),
        (["1", "2"], ["1.jpg", "2.jpg"], "", "Use dataset.images=*.jpg, which finds 2 of 2"),
        (["1", "2"], ["i/1.jpg", "i/2.png"], "", "Use dataset.images=i/*.*, which finds 2 of 2"),
        (["x/1", "y/2"], ["i/x/1.jpg", "i/y/2.jpg"], "", "Use dataset.images=i/*.jpg, which finds 2 of 2"),
        (["1", "2"], ["train/1.jpg", "train/2.jpg"], "meta", "Use dataset.images=../train/*.jpg, which finds 2 of 2"),
        (["i/1.jpg", "i/2.jpg"], ["i/1.jpg", "i/2.jpg"], "meta", "Use dataset.images=../*, which finds 2 of 2"),
        (["1.jpg", "2.jpg"], ["my (i)/1.jpg", "my (i)/2.jpg"], "", "Use \"dataset.images='my (i)/*'\", which finds"),
        (
            ["train/x/1.jpg", "train/x/2.jpg"],
            ["x/1.jpg", "x/2.jpg"],
            "",
            "Without 'train/' at the start, files are there",
        ),
        (["C:\\d\\x\\1.jpg", "C:\\d\\x\\2.jpg"], ["x/1.jpg", "x/2.jpg"], "", "Without 'C:/d/' at the start"),
        (["/data/al/x/1.jpg", "/data/al/x/2.jpg"], ["i/x/1.jpg", "i/x/2.jpg"], "", "replace it by 'i/'"),
        (["https://h.org/1.jpg", "s3://h/2.jpg"], ["1.jpg", "2.jpg"], "", "Download the images"),
        (
            ["IMG_1.JPG", "IMG_2.JPG"],
            ["img_1.jpg", "img_2.jpg"],
            "",
            "'img_1.jpg' is there: use the same upper and lower",
        ),
        (["1.jpg", "2.jpg"], ["../i/1.jpg"], "", "Correct the column path, or use dataset.images="),
        (["1.jpg", "2.jpg"], [], "", "Correct the column path, or use dataset.images=<folder>/*<ending>"),
        (["x" * 5000, "y"], [], "", "Correct the column path"),
    ],
)
def test_missing_files_are_an_error_with_the_way_out(tmp_path, names, files, home, hint):
    config = table(tmp_path / "data", names, files, home=home)
    with pytest.raises(PipelineError) as caught:
        check_images(config)
    message = str(caught.value)
    assert "t.csv: 2 of 2 files are not there, first '" in message
    assert f"; looked in {tmp_path / 'data' / home}. " in message
    assert hint in message
    assert len(message.split()) < 60
    assert len(message) < 500


def test_the_suggested_pattern_works(tmp_path):
    names, files = [f"{number:04}" for number in range(500)], [f"a b/{number:04}.jpg" for number in range(500)]
    with pytest.raises(PipelineError) as caught:
        check_images(table(tmp_path, names, files))
    suggestion = str(caught.value).split('Use "')[1].split('"')[0]
    assert [image.path for image in list_images(table(tmp_path, names, files, suggestion)).images] == files


def test_a_few_missing_files_stay_in_the_listing(tmp_path):
    config = table(tmp_path, ["1.jpg", "gone\\2.jpg", "3.jpg"], ["1.jpg", "3.jpg"])
    check_images(config)
    assert [image.path for image in list_images(config).images] == ["1.jpg", "3.jpg", "gone/2.jpg"]


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(PipelineError, match="2 of 2 files are not there"):
        check_images(table(tmp_path, ["1", "2"], ["1/a.jpg", "2/b.jpg"]))


def test_an_id_of_two_files_is_an_error(tmp_path):
    with pytest.raises(PipelineError, match=r"'i/1\.\*' stands for several files: 1\.jpg, 1\.png"):
        list_images(table(tmp_path, ["1", "2"], ["i/1.jpg", "i/1.png", "i/2.jpg"], "dataset.images=i/*.*"))


def test_two_names_of_one_file_are_found(tmp_path):
    with pytest.raises(PipelineError, match=r"'x/1\.jpg' occurs in 2 rows"):
        list_images(table(tmp_path, ["x/1.jpg", "x\\1.jpg"], ["x/1.jpg"]))


@pytest.mark.parametrize("pattern", ["images", "i/*/*.jpg", "*.*.*", "''"])
def test_a_pattern_has_one_star(tmp_path, pattern):
    with pytest.raises(PipelineError, match=r"dataset\.images: invalid value .* one star for the id"):
        table(tmp_path, ["1"], [], f"dataset.images={pattern}")
