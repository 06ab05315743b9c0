"""Differences between splits: their size, and whether they can be chance."""

import numpy as np
import pandas as pd
import pytest

from pipeline.config import DriftConfig
from pipeline.data.drift import APPEARANCE, class_counts, drift, drift_warnings, imbalance

LIMITS = DriftConfig(class_mix=0.05, appearance=0.2, p_value=0.01)


def manifest(mixes: dict[str, tuple[int, int]], brighter: float = 0.0, seed: int = 1) -> pd.DataFrame:
    """Splits with so many images of x and y; the test split's perhaps brighter."""
    draws, parts = np.random.default_rng(seed), []
    for split, counts in mixes.items():
        count = sum(counts)
        parts.append(
            pd.DataFrame(
                {
                    "label": np.repeat(["x", "y"], counts),
                    "split": split,
                    "brightness": draws.normal(120 + brighter * (split == "test"), 30, count),
                    "contrast": draws.normal(50, 10, count),
                    "saturation": draws.normal(50, 10, count),
                    "width": draws.integers(100, 900, count),
                    "height": draws.integers(100, 900, count),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_splits_of_one_source_do_not_drift():
    for seed in range(20):
        found = drift(
            manifest({"train": (500, 500), "validation": (100, 100), "test": (100, 100)}, seed=seed), ["x", "y"]
        )
        assert found["test"]["total_variation"] == pytest.approx(0)
        assert found["test"]["class_p_value"] == pytest.approx(1)
        assert drift_warnings(found, LIMITS) == []


def test_another_mix_of_classes_is_remarked_on_unless_it_may_be_chance():
    found = drift(manifest({"train": (900, 100), "validation": (90, 10), "test": (150, 150)}), ["x", "y"])
    assert found["test"]["total_variation"] == pytest.approx(0.4)
    [remark] = drift_warnings(found, LIMITS)
    assert "The test split's class proportions differ" in remark
    assert "0.40" in remark
    few = drift(manifest({"train": (60, 40), "validation": (6, 4), "test": (4, 6)}), ["x", "y"])
    assert few["test"]["total_variation"] == pytest.approx(0.2)
    assert drift_warnings(few, LIMITS) == []


def test_pictures_that_look_otherwise_are_remarked_on():
    found = drift(
        manifest({"train": (500, 500), "validation": (100, 100), "test": (100, 100)}, brighter=40), ["x", "y"]
    )
    assert [remark.split(":")[0] for remark in drift_warnings(found, LIMITS)] == [
        "The test split's images differ from the training images in brightness"
    ]
    assert set(found["test"]) == {
        "total_variation",
        "class_p_value",
        *APPEARANCE,
        *(f"{name}_p_value" for name in APPEARANCE),
    }


def test_counts_hold_classes_and_splits_without_pictures():
    counts = class_counts(manifest({"train": (5, 3), "test": (2, 0)}), ["w", "x", "y"])
    assert counts.to_dict() == {
        "train": {"w": 0, "x": 5, "y": 3}, "validation": {"w": 0, "x": 0, "y": 0}, "test": {"w": 0, "x": 2, "y": 0},
    }  # fmt: skip
    assert imbalance(counts["train"].loc[["x", "y"]]) == pytest.approx(5 / 3)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_each_split_is_compared_with_training(split):
    mixes = {"train": (500, 500), "validation": (100, 100), "test": (100, 100)} | {split: (180, 20)}
    found = drift(manifest(mixes), ["x", "y"])
    assert {name: round(values["total_variation"], 6) for name, values in found.items()} == {
        "validation": 0.0,
        "test": 0.0,
    } | {split: 0.4}
