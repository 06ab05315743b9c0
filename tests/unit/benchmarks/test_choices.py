"""The table of the benchmark pairs the predictions of the same images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.choices import check_test_images, split_overrides, table
from pipeline.comparison.experiments import Experiment
from pipeline.config import PHASES
from pipeline.config.compose import composed
from pipeline.config.validate import check
from tests.support.images import write_images


def run_of(folder: Path, seed: int, wrong: set[int]) -> Experiment:
    """A run that predicts 40 images, listed in an order of its own, rightly but for some in phase 1."""
    labels = np.arange(40) % 2
    predicted = np.where(np.isin(np.arange(40), list(wrong)), 1 - labels, labels)
    rows = pd.DataFrame({"label": np.array(["a", "b"])[labels], "sha256": [f"{number:064}" for number in range(40)]})
    for phase, classes in {"train": predicted, "finetune": labels}.items():
        rows[f"{phase}_probabilities"] = list(np.eye(2)[classes] * 0.8 + 0.1)
    for stage in ("evaluate", "prepare"):
        (folder / stage).mkdir(parents=True)
    order = np.random.default_rng(seed).permutation(40)
    rows.iloc[order].to_parquet(folder / "evaluate" / "predictions.parquet")
    (folder / "prepare" / "classes.json").write_text(json.dumps(["a", "b"]))
    metrics = {f"test/{phase}/{name}": 0.1 * (seed + 1) for phase in PHASES for name in ("loss", "ece")}
    metrics |= {f"seconds/{phase}": 10.0 * (seed + 1) for phase in PHASES}
    return Experiment(folder.name, folder.name, 0, {}, metrics, {}, folder.as_uri())


def rows_of(text: str) -> dict[str, list[str]]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {name: values for name, *values in cells[2:]}


def test_differences_are_of_the_same_images(tmp_path):
    wrong = {"stretch": ({*range(10)}, {*range(10)}), "crop": ({*range(10)}, {*range(12)}), "pad": (set(), set())}
    runs = {
        way: [run_of(tmp_path / f"{way}-{seed}", seed, each) for seed, each in enumerate(both)]
        for way, both in wrong.items()
    }
    found = rows_of(table(runs, "train"))
    assert found["stretch"][:2] == ["0.7500", "0.0000"]
    assert found["stretch"][3:] == ["", "", "0.1500", "0.1500", "15", "2"]
    assert (found["crop"][0], found["crop"][1], found["crop"][3]) == ("0.7250", "0.0354", "-0.0250")
    assert (found["pad"][0], found["pad"][3]) == ("1.0000", "+0.2500")
    # Ten images that only one of both predicts rightly are no chance; two in one of two seeds may be.
    assert float(found["pad"][4]) < 0.01
    assert float(found["crop"][4]) > 0.05
    fine_tuned = rows_of(table(runs, "finetune"))
    assert {name: values[0] for name, values in fine_tuned.items()} == dict.fromkeys(wrong, "1.0000")
    assert fine_tuned["crop"][4] == "1"


def test_other_test_images_for_each_seed_are_refused(tmp_path):
    def config(*overrides: str):
        return check(composed(["dataset=folder", f"dataset.path={tmp_path}", *overrides]))

    write_images(tmp_path / "train", 3)
    write_images(tmp_path / "validation", 3)
    with pytest.raises(SystemExit, match=r"has no test images of its own; add a folder test/"):
        check_test_images(config())
    check_test_images(config("dataset.test=validation"))
    write_images(tmp_path / "test", 3)
    check_test_images(config())


def test_one_key_has_several_values():
    given = ["image_size=[96,64]", "train.head=softmax,ridge", "augment.views=2"]
    assert split_overrides(given) == ("train.head", ["softmax", "ridge"], ["image_size=[96,64]", "augment.views=2"])
    with pytest.raises(SystemExit, match="2 keys have"):
        split_overrides([*given, "seed=1,2"])
