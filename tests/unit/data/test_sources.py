"""Folders and tables as configured: where they are, their groups, and a digest that notices each change."""

import shutil

import pytest

from pipeline.data.sources import check_images, image_folder, list_images, listing_digest, table_file
from pipeline.system.errors import PipelineError
from tests.support.datasets import dataset, table_dataset
from tests.support.images import draw, touch, write_images


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(PipelineError, match=r"dataset\.path: .* does not exist .*one sub-folder of images per class"):
        image_folder(dataset(tmp_path / "nowhere"))
    touch(tmp_path / "file")
    with pytest.raises(PipelineError, match="is a file"):
        image_folder(dataset(tmp_path / "file"))


def digest(folder, *overrides, source="folder"):
    return listing_digest(dataset(folder, *overrides, source=source), folder.parent / "cache")


def test_the_digest_notices_each_kind_of_change(tmp_path):
    folder = write_images(tmp_path / "images", per_class=2)
    digests = [digest(folder)]
    assert digest(folder) == digests[0]
    draw((1, 2, 3), 0).save(folder / "red" / "new.png")
    digests.append(digest(folder))
    (folder / "red" / "new.png").rename(folder / "blue" / "new.png")
    digests.append(digest(folder))
    draw((1, 2, 3), 9).save(folder / "blue" / "000.png")
    digests.append(digest(folder))
    shutil.rmtree(folder / "green")
    digests.append(digest(folder))
    assert len(set(digests)) == 5


def test_copies_of_a_data_set_have_its_digest(tmp_path):
    folder = write_images(tmp_path / "images", per_class=2)
    # The times of the files differ, and one copy lies below another path.
    shutil.copytree(folder, tmp_path / "elsewhere" / "copy", copy_function=shutil.copyfile)
    (folder / "red" / "notes.txt").write_text("no image")
    assert digest(folder) == digest(tmp_path / "elsewhere" / "copy")


def test_groups_are_read_off_the_path(tmp_path):
    touch(*(tmp_path / label / f"p{patient}-{number}.png" for label in "xy" for patient in (1, 2) for number in (1, 2)))
    [first, *_, last] = list_images(dataset(tmp_path, r"dataset.groups='(p\d+)-'")).images
    assert (first.group, last.group) == ("p1", "p2")
    whole = list_images(dataset(tmp_path, r"dataset.groups='p\d'")).images
    assert {image.group for image in whole} == {"p1", "p2"}


def test_a_path_without_a_group_is_named(tmp_path):
    touch(tmp_path / "x" / "p1.png", tmp_path / "y" / "stray.png")
    with pytest.raises(PipelineError, match=r"finds no group for 1 of 2 images, such as 'y/stray.png'; change the"):
        list_images(dataset(tmp_path, r"dataset.groups='p\d'"))


def test_a_missing_table_and_a_missing_group_column(tmp_path):
    with pytest.raises(PipelineError, match=r"dataset\.path: .* is not a file .* expected a CSV file"):
        image_folder(dataset(tmp_path / "nowhere.csv", source="csv"))
    with pytest.raises(PipelineError, match="has no column 'patient'"):
        list_images(table_dataset(tmp_path, "path,label\n1.png,a\n2.png,b\n", "dataset.groups=patient"))


def test_the_digest_notices_rows_and_images(tmp_path):
    def table_digest(text: str) -> str:
        return listing_digest(table_dataset(tmp_path, text), tmp_path / "cache")

    text = "path,label\n1.png,a\n2.png,b\n"
    digests = [table_digest(text)]
    # Another order of the rows, or a column that the configuration does not name, is the same data set.
    assert table_digest("path,label,note\n2.png,b,x\n1.png,a,y\n") == digests[0]
    (tmp_path / "1.png").write_bytes(b"x")
    digests.append(table_digest(text))
    digests.append(table_digest(text + "3.png,a\n"))
    digests.append(table_digest(text.replace("1.png,a", "1.png,b").replace("2.png,b", "2.png,a")))
    assert len(set(digests)) == 4


def test_a_table_is_prepared_like_a_folder(tmp_path, configure):
    """Missing files are quarantined, and groups of the table are kept whole."""
    import pandas as pd

    from pipeline.stages import prepare
    from pipeline.stages.settings import Places, stage_settings
    from pipeline.storage.cache import Cache
    from tests.support.images import draw

    rows = ["path,label,patient"]
    for number in range(60):
        draw((number, 90, 90), number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},p{number // 4}")
    config = configure()
    config.dataset = table_dataset(tmp_path, "\n".join([*rows, "gone.png,a,p99"]) + "\n", "dataset.groups=patient")
    (tmp_path / "prepare").mkdir()
    places = Places(tmp_path, table_file(config.dataset), weights=None, cache=Cache(tmp_path / "cache"))
    prepare.run(stage_settings("prepare", config), places, tmp_path / "prepare")
    manifest = pd.read_parquet(tmp_path / "prepare" / "manifest.parquet")
    assert len(manifest) == 60
    assert (manifest.groupby("group")["split"].nunique() == 1).all()
    assert set(manifest["group"]) == {f"p{number}" for number in range(15)}
    quarantined = pd.read_csv(tmp_path / "prepare" / "quarantine.csv", keep_default_na=False)
    assert quarantined.to_dict("records") == [{"path": "gone.png", "reason": "No such file or directory", "sha256": ""}]


def test_a_missing_package_is_an_error_before_any_job(monkeypatch):
    monkeypatch.setattr("pipeline.data.bundled.find_spec", lambda _name: None)
    with pytest.raises(PipelineError, match="run: pip install tensorflow-datasets"):
        check_images(dataset("null", "dataset.tfds=nowhere:1.0.0", source="tfds"))
