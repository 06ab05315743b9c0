"""A team under DVC: what one has computed, another one pulls, and computes nothing."""

import shutil
import subprocess

import pytest

from tests.support.checkouts import Checkout
from tests.support.images import write_images

pytestmark = pytest.mark.slow


def test_a_pulled_experiment_runs_nothing_and_can_be_logged(tmp_path):
    first = Checkout(tmp_path / "first", "data/colours")
    write_images(first.folder / "data" / "colours", per_class=10)
    first.dvc("add", "data/colours")
    first.dvc("remote", "add", "--default", "team", str(tmp_path / "remote"))
    first.repro()
    first.commit("an experiment")
    first.dvc("push")

    # Another machine has neither the files nor their times, and lies below another path.
    subprocess.run(["git", "clone", "-q", first.folder, tmp_path / "elsewhere" / "second"], check=True)
    shutil.rmtree(first.folder)
    second = Checkout.at(tmp_path / "elsewhere" / "second")
    second.dvc("pull")
    assert second.repro() == {"watch"}
    assert second.status() == ""
    assert second.experiments() == []

    assert "The results in outputs/ are in the store" in second.python("pipeline.sync")
    [run] = second.experiments()
    assert {"test/accuracy", "train/val_accuracy", "training/val_loss"} <= set(run.data.metrics)
    assert second.repro() == {"watch"}
    assert second.status() == ""
