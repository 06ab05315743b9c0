"""Stratified, seeded, and only where nothing is given."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.config import DatasetConfig
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.data.splits import assign_given_splits, cut_splits
from pipeline.system.errors import PipelineError

FOLDER = check(composed(["dataset=folder", "dataset.path=images"])).dataset


def table(counts: dict[tuple[str | None, str], int]) -> pd.DataFrame:
    rows = [{"split": split, "label": label} for (split, label), count in counts.items() for _ in range(count)]
    return pd.DataFrame(rows).astype({"label": pd.CategoricalDtype(["x", "y"])})


def dataset(test: str = "auto", least: int = 5) -> DatasetConfig:
    return replace(FOLDER, test=test, min_images_per_class=least)


def assign_splits(images: pd.DataFrame, dataset: DatasetConfig, seed: int) -> pd.Series:
    """The splits of images that all stand alone; as one who reads the stage sees them."""
    used = images.assign(split=assign_given_splits(images["split"], dataset.test), unit=range(len(images)))
    return cut_splits(used[used["split"].notna()], dataset, seed).reindex(images.index)


def counted(images: pd.DataFrame, split: pd.Series) -> dict[tuple[str, str], int]:
    return images.assign(split=split).groupby(["split", "label"], observed=True).size().to_dict()


def test_without_splits_a_fifth_is_for_testing_and_15_percent_of_the_rest_for_validation():
    images = table({(None, "x"): 100, (None, "y"): 300})
    split = assign_splits(images, dataset(), seed=1)
    assert counted(images, split) == {
        ("test", "x"): 20, ("test", "y"): 60,
        ("validation", "x"): 12, ("validation", "y"): 36,
        ("train", "x"): 68, ("train", "y"): 204,
    }  # fmt: skip


def test_the_seed_decides():
    images = table({(None, "x"): 40, (None, "y"): 40})
    first, again, other = (assign_splits(images, dataset(), seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_given_splits_stay_as_they_are():
    images = table({(split, label): 20 for split in ("train", "validation", "test") for label in "xy"})
    assert assign_splits(images, dataset(), 1).tolist() == images["split"].tolist()


def test_a_given_validation_split_may_serve_as_the_test_set():
    images = table({(split, label): 20 for split in ("train", "validation", "test") for label in "xy"})
    split = assign_splits(images, dataset("validation"), 1)
    assert (split[images["split"] == "validation"] == "test").all()
    assert split[images["split"] == "test"].isna().all()
    assert counted(images, split)["validation", "x"] == 3


def test_it_must_be_given_for_that():
    with pytest.raises(PipelineError, match=r"dataset\.test: invalid value 'validation'; expected a validation/"):
        assign_splits(table({(None, "x"): 9, (None, "y"): 9}), dataset("validation"), 1)


def test_a_class_that_is_too_small_is_named_with_its_count():
    with pytest.raises(PipelineError, match=r"at least 5 per class are needed, but 'y' has 2; add images, or"):
        assign_splits(table({(None, "x"): 9, (None, "y"): 2}), dataset(), 1)
    with pytest.raises(PipelineError, match="'y' has 0"):
        assign_splits(table({(None, "x"): 9}), dataset(), 1)


def test_each_class_is_in_each_split_even_if_the_fraction_is_too_small_for_that(caplog):
    images = table({("train", "x"): 3, ("train", "y"): 3, ("test", "x"): 3})
    split = assign_splits(images, dataset(least=3), 1)
    assert counted(images, split) == {
        ("test", "x"): 3, ("train", "x"): 2, ("train", "y"): 2, ("validation", "x"): 1, ("validation", "y"): 1,
    }  # fmt: skip
    assert "The validation split has 2 of 6 images (33 % instead of 15 %)" in caplog.text
    alone = {(None, "x"): 400, (None, "y"): 3}
    found = counted(table(alone), assign_splits(table(alone), dataset(least=3), 1))
    assert {each: found[each, "y"] for each in ("train", "validation", "test")} == dict.fromkeys(
        ("train", "validation", "test"), 1
    )
    assert (found["test", "x"], found["validation", "x"]) == (80, 48)


@pytest.mark.parametrize("per_class", [3, 4, 5, 7, 10])
@pytest.mark.parametrize("classes", [2, 10, 150])
def test_few_images_of_many_classes_are_divided(per_class, classes):
    labels = pd.Categorical(np.repeat([f"c{number:03}" for number in range(classes)], per_class))
    images = pd.DataFrame({"label": labels, "split": "train", "unit": range(len(labels))})
    split = cut_splits(images, replace(FOLDER, min_images_per_class=3), 1)
    assert (pd.crosstab(images["label"], split) > 0).all(axis=None)


def test_a_fraction_that_leaves_nothing_is_refused_with_one_that_works():
    images = table({(None, "x"): 6, (None, "y"): 6})
    with pytest.raises(PipelineError, match=r"No test split of 90% can be created .*Use a fraction of 0\.66 or less"):
        cut_splits(images.assign(split="train", unit=range(12)), replace(FOLDER, test_fraction=0.9), 1)
    split = cut_splits(images.assign(split="train", unit=range(12)), replace(FOLDER, test_fraction=0.66), 1)
    assert (pd.crosstab(images["label"], split) > 0).all(axis=None)


def test_copies_count_once():
    images = unit_table({"x": [1] * 9, "y": [3, 3]})
    with pytest.raises(
        PipelineError, match="each class needs 3 different images, but 'y' has 2; duplicates count once"
    ):
        cut_splits(images, FOLDER, 1)


def unit_table(units: dict[str, list[int]]) -> pd.DataFrame:
    """Images of each class in units of the given sizes."""
    rows = [
        {"split": "train", "label": label, "unit": f"{label}{number}"}
        for label, sizes in units.items()
        for number, size in enumerate(sizes)
        for _ in range(size)
    ]
    return pd.DataFrame(rows).astype({"label": pd.CategoricalDtype(sorted(units))})


@pytest.mark.parametrize("groups", [None, "patient"])
@pytest.mark.parametrize("seed", range(5))
def test_a_unit_is_never_torn_apart_and_shares_stay_near_what_was_asked_for(groups, seed):
    sizes = np.random.default_rng(seed).integers(1, 4, 200).tolist()
    images = unit_table({"x": sizes, "y": sizes[:80]})
    split = cut_splits(images, replace(FOLDER, groups=groups), seed)
    assert (split.groupby(images["unit"]).nunique() == 1).all()
    shares = pd.crosstab(images["label"], split, normalize="index")
    assert (shares["test"] - 0.2).abs().max() < 0.06
    assert (shares["validation"] - 0.12).abs().max() < 0.06


def test_groups_of_several_classes_are_kept_whole():
    patients = np.repeat(np.arange(40), 6)
    images = pd.DataFrame({"label": pd.Categorical(list("xyyxyz") * 40), "split": "train", "unit": patients})
    split = cut_splits(images, replace(FOLDER, groups="patient"), 1)
    assert (split.groupby(patients).nunique() == 1).all()
    assert set(split) == {"train", "validation", "test"}
    assert (pd.crosstab(images["label"], split) > 0).all(axis=None)


def test_the_order_of_files_with_the_same_seed_decides_alone():
    images = unit_table({"x": [3] * 30, "y": [2] * 30})
    first, again = (cut_splits(images, replace(FOLDER, groups="patient"), 7) for _ in range(2))
    assert first.equals(again)


def test_groups_that_can_not_be_split_are_refused_with_the_reason():
    with pytest.raises(PipelineError, match=r"all images of 'y' are in one group, which can't be in both splits"):
        cut_splits(unit_table({"x": [5] * 5, "y": [20]}), replace(FOLDER, groups="patient"), 1)
    with pytest.raises(PipelineError, match=r"No validation split .* in one group"):
        cut_splits(unit_table({"x": [9, 9], "y": [9, 9]}), replace(FOLDER, groups="patient"), 1)
