"""No image in two splits, no image under two labels; what is done about it is what was asked for."""

import pickle
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.data.curation import COLUMNS, Curated, curate
from pipeline.data.inspection import inspect
from pipeline.data.leaks import LeakError
from pipeline.data.sources import list_images
from pipeline.reports.review_pages import write_duplicates
from tests.support.datasets import dataset, photo, recompressed


def write(folder: Path, *places: str, first: int = 0) -> None:
    """A photo of its own at each place."""
    for number, place in enumerate(places, start=first):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        photo(number, 96, 72).save(folder / place, quality=95)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes with given splits, nothing wrong."""
    home = tmp_path / "images"
    write(home, *(f"train/{label}/{number}.jpg" for label in "xy" for number in range(6)))
    write(home, *(f"test/{label}/{number}.jpg" for label in "xy" for number in range(3)), first=100)
    return home


def curated(folder: Path, *overrides: str) -> Curated:
    config = dataset(folder, "dataset.min_images_per_class=3", *overrides)
    listing = list_images(config)
    inspected = inspect(folder, listing.images, folder.parent / "cache", config.max_pixels)
    return curate(inspected, listing.classes, config, 1)


def leak(folder: Path) -> None:
    """One exact and one near duplicate across the splits."""
    shutil.copy(folder / "test" / "x" / "0.jpg", folder / "train" / "x" / "copy.jpg")
    recompressed(photo(103, 96, 72), 60).save(folder / "train" / "y" / "again.jpg")


def test_a_clean_folder_stays_as_it_is(folder):
    found = curated(folder)
    assert list(found.manifest) == COLUMNS
    assert len(found.manifest) == 18
    assert found.manifest["group"].isna().all()
    assert not any(found.counts.values())


def test_given_splits_that_leak_are_refused_with_the_pairs_and_a_page(folder):
    leak(folder)
    with pytest.raises(LeakError) as caught:
        curated(folder)
    # As another process receives it.
    error = pickle.loads(pickle.dumps(caught.value))
    said = str(error)
    assert "test/x/0.jpg and train/x/copy.jpg (identical files)" in said
    assert re.search(r"test/y/0.jpg and train/y/again.jpg \(near duplicates, \d+ of 256 bits differ\)", said)
    assert "Use dataset.on_leak=drop to remove 2 of them" in said
    write_duplicates(error.duplicates, folder, folder.parent / "leaks.html")
    assert "across splits" in (folder.parent / "leaks.html").read_text()


def test_leaks_are_dropped_from_what_is_learned_from(folder):
    leak(folder)
    found = curated(folder, "dataset.on_leak=drop")
    assert not {"train/x/copy.jpg", "train/y/again.jpg"} & set(found.manifest["path"])
    assert {"test/x/0.jpg", "test/y/0.jpg"} <= set(found.manifest["path"])
    assert (found.counts["leaked"], found.counts["dropped"]) == (4, 2)


def test_leaks_are_kept_and_counted(folder):
    leak(folder)
    found = curated(folder, "dataset.on_leak=keep")
    assert len(found.manifest) == 20
    assert (found.counts["leaked"], found.counts["dropped"]) == (4, 0)


def test_the_validation_split_gives_way_to_the_test_split(folder):
    write(folder, *(f"val/{label}/{number}.jpg" for label in "xy" for number in range(3)), first=200)
    shutil.copy(folder / "test" / "x" / "0.jpg", folder / "val" / "x" / "copy.jpg")
    found = curated(folder, "dataset.on_leak=drop").manifest
    assert "val/x/copy.jpg" not in set(found["path"])
    # What is put aside can't leak.
    aside = curated(folder, "dataset.test=validation").manifest
    assert set(aside.loc[aside["path"].str.startswith("val/"), "split"]) == {"test"}


def test_a_group_across_given_splits_is_a_leak(tmp_path):
    home = tmp_path / "images"
    write(home, *(f"train/{label}/p{number}-a.jpg" for label in "xy" for number in range(6)))
    write(home, *(f"test/{label}/p{number}-b.jpg" for label in "xy" for number in (5, 7, 8)), first=100)
    with pytest.raises(LeakError, match=r"p5-.* in test and train"):
        curated(home, r"dataset.groups='p\d+'")
    found = curated(home, r"dataset.groups='p\d+'", "dataset.on_leak=drop").manifest
    assert (found.groupby("group")["split"].agg(lambda split: "test" in set(split) and len(set(split)) > 1)).sum() == 0


def test_a_picture_under_two_labels_is_quarantined(folder):
    shutil.copy(folder / "train" / "x" / "0.jpg", folder / "train" / "y" / "other.jpg")
    found = curated(folder)
    assert found.quarantined["path"].tolist() == ["train/x/0.jpg", "train/y/other.jpg"]
    assert set(found.quarantined["reason"]) == {"the same image under several labels: x, y"}
    assert (found.counts["label_conflicts"], len(found.manifest)) == (2, 17)
    assert len(curated(folder, "dataset.label_conflicts=keep").manifest) == 19


def test_a_conflict_across_splits_is_no_leak_any_more(folder):
    shutil.copy(folder / "test" / "x" / "0.jpg", folder / "train" / "y" / "other.jpg")
    assert curated(folder).counts["leaked"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_stay_in_one_split_where_splits_are_cut(tmp_path, seed):
    home = tmp_path / "images"
    write(home, *(f"{label}/{number}.jpg" for label in "xy" for number in range(20)))
    for number in range(10):
        shutil.copy(home / "x" / f"{number}.jpg", home / "x" / f"copy-{number}.jpg")
        recompressed(photo(20 + number, 96, 72), 50).save(home / "y" / f"again-{number}.jpg")
    config = dataset(home)
    listing = list_images(config)
    inspected = inspect(home, listing.images, tmp_path / "cache", config.max_pixels)
    found = curate(inspected, listing.classes, config, seed)
    assert found.counts["duplicate_groups"] == 20
    together = found.manifest[found.manifest["group"].notna()]
    assert len(together) == 40
    assert (together.groupby("group")["split"].nunique() == 1).all()
    assert pd.crosstab(found.manifest["label"], found.manifest["split"])["test"].between(4, 8).all()


def test_duplicates_tie_groups_together(tmp_path):
    home = tmp_path / "images"
    write(home, *(f"{label}/p{patient}-{number}.jpg" for label in "xy" for patient in range(8) for number in range(2)))
    shutil.copy(home / "x" / "p0-0.jpg", home / "x" / "p1-9.jpg")
    found = curated(home, r"dataset.groups='p\d+'").manifest
    names = found.set_index("path")["group"]
    assert names["x/p0-0.jpg"] == names["x/p1-9.jpg"] == names["y/p1-0.jpg"] == "p0"
    assert (found.groupby("group")["split"].nunique() == 1).all()


def test_the_page_shows_the_doubtful_groups_first_and_says_what_it_leaves_out(folder, monkeypatch):
    monkeypatch.setattr("pipeline.reports.review_pages._MAX_GROUPS", 2)
    monkeypatch.setattr("pipeline.reports.review_pages._MAX_MEMBERS", 2)
    for number in range(3):
        shutil.copy(folder / "train" / "x" / "1.jpg", folder / "train" / "x" / f"copy-{number}.jpg")
    shutil.copy(folder / "train" / "x" / "2.jpg", folder / "train" / "x" / "<b>.jpg")
    shutil.copy(folder / "train" / "x" / "0.jpg", folder / "train" / "y" / "other.jpg")
    found = curated(folder)
    write_duplicates(found.duplicates, folder, folder.parent / "page.html")
    page = (folder.parent / "page.html").read_text()
    assert page.index(", several labels<") < page.index("(the first 2 are shown)")
    assert "The first 2 groups are shown; duplicates.csv lists all." in page
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert "http" not in page
    assert "<b>.jpg" not in page
