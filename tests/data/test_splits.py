"""Stratified, seeded, and only where nothing is given."""

import pandas as pd
import pytest

from pipeline.config import DatasetConfig
from pipeline.data.splits import assign_splits
from pipeline.errors import PipelineError


def table(counts: dict[tuple[str | None, str], int]) -> pd.DataFrame:
    rows = [{"split": split, "label": label} for (split, label), count in counts.items() for _ in range(count)]
    return pd.DataFrame(rows).astype({"label": pd.CategoricalDtype(["x", "y"])})


def dataset(test: str = "auto", least: int = 5) -> DatasetConfig:
    return DatasetConfig("folder", None, test, 0.2, 0.15, least, True, None)


def counted(pictures: pd.DataFrame, split: pd.Series) -> dict[tuple[str, str], int]:
    return pictures.assign(split=split).groupby(["split", "label"], observed=True).size().to_dict()


def test_without_splits_a_fifth_is_for_testing_and_15_percent_of_the_rest_for_validation():
    pictures = table({(None, "x"): 100, (None, "y"): 300})
    split = assign_splits(pictures, dataset(), seed=1)
    assert counted(pictures, split) == {
        ("test", "x"): 20, ("test", "y"): 60,
        ("validation", "x"): 12, ("validation", "y"): 36,
        ("train", "x"): 68, ("train", "y"): 204,
    }  # fmt: skip


def test_the_seed_decides():
    pictures = table({(None, "x"): 40, (None, "y"): 40})
    first, again, other = (assign_splits(pictures, dataset(), seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_given_splits_stay_as_they_are():
    pictures = table({(split, label): 20 for split in ("train", "validation", "test") for label in "xy"})
    assert assign_splits(pictures, dataset(), 1).tolist() == pictures["split"].tolist()


def test_a_given_validation_split_may_serve_as_the_test_set():
    pictures = table({(split, label): 20 for split in ("train", "validation", "test") for label in "xy"})
    split = assign_splits(pictures, dataset("validation"), 1)
    assert (split[pictures["split"] == "validation"] == "test").all()
    assert split[pictures["split"] == "test"].isna().all()
    assert counted(pictures, split)["validation", "x"] == 3


def test_it_must_be_given_for_that():
    with pytest.raises(PipelineError, match=r"dataset\.test: 'validation' takes a validation/"):
        assign_splits(table({(None, "x"): 9, (None, "y"): 9}), dataset("validation"), 1)


def test_a_class_that_is_too_small_is_named_with_its_count():
    with pytest.raises(PipelineError, match=r"at least 5 a class are needed: 'y' has 2; add pictures"):
        assign_splits(table({(None, "x"): 9, (None, "y"): 2}), dataset(), 1)
    with pytest.raises(PipelineError, match="'y' has 0"):
        assign_splits(table({(None, "x"): 9}), dataset(), 1)


def test_a_split_that_can_not_be_stratified_is_refused():
    with pytest.raises(
        PipelineError, match=r"No validation split of 15% can be cut .* change dataset.validation_fraction"
    ):
        assign_splits(table({("train", "x"): 3, ("train", "y"): 3, ("test", "x"): 3}), dataset(least=3), 1)
