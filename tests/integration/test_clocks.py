"""A clock that is set back and forward during the work."""

import time
from dataclasses import replace

import mlflow
import pytest

from pipeline.storage.files import read_json
from tests.support.experiments import run_stages

DAY = 86400


@pytest.fixture
def clock(monkeypatch):
    """The machine's clock, moved by the seconds in this list: each reading uses the next of them."""
    moved, real = [0], time.time

    def read():
        moved.append(moved.pop(0))
        return real() + moved[-1]

    monkeypatch.setattr(time, "time", read)
    return moved


@pytest.mark.slow
def test_no_metric_is_lost_and_none_doubled_and_a_later_run_is_told_from_an_earlier_one(configure, tmp_path, clock):
    config = configure("backbone=scratch_cnn", "train.epochs=5")
    client = mlflow.MlflowClient(config.tracking.uri)
    run_stages(config, tmp_path / "first", "train")
    # The second run seems to be older, and its epochs to run backwards.
    clock[:] = [-DAY, -2 * DAY, -3 * DAY]
    run_stages(replace(config, cache_folder=f"{tmp_path}/empty"), tmp_path / "second", "train")
    found = client.search_runs(["1"])
    assert {run.info.status for run in found} == {"FINISHED"}
    named = {
        read_json(tmp_path / job / stage / "run.json")["run_id"]: job
        for job in ("first", "second")
        for stage in ("prepare", "train")
    }
    assert sorted(named.values()) == ["first", "second"]
    assert {run.info.run_id for run in found} == set(named)
    for run in found:
        for metric in ("training/loss", "training/val_accuracy", "training/learning_rate"):
            history = client.get_metric_history(run.info.run_id, metric)
            assert sorted(point.step for point in history) == [1, 2, 3, 4, 5]
            assert run.data.metrics[metric] == max(history, key=lambda point: point.step).value
        # A day backwards would have been less than nothing.
        assert 0 < run.data.metrics["seconds/train"] < DAY
