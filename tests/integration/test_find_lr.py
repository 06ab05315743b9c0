"""The rate range test: reading a curve, and the command from nothing to MLflow."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline import find_lr
from pipeline.stages.find_lr import suggest_rate
from pipeline.system.errors import PipelineError
from tests.support.images import small_arguments
from tests.support.in_process import call


def test_a_tenth_of_the_lowest_point_is_suggested():
    rates = 1e-5 * 10 ** (np.arange(101) / 20)
    losses = 1 + (np.log10(rates) + 2) ** 2
    table, suggested = suggest_rate(list(losses), 1e-5, 1.0, 101)
    np.testing.assert_allclose(table["learning_rate"], rates)
    # The average follows a little later.
    assert 1e-3 <= suggested <= 5e-3


def test_what_is_no_number_is_left_out_and_nothing_left_is_an_error():
    assert len(suggest_rate([2.0, 1.0, float("nan")], 1e-5, 1.0, 100)[0]) == 2
    with pytest.raises(PipelineError, match=r"find_lr.low: the loss is not finite at the learning rate 1e-05"):
        suggest_rate([float("nan")], 1e-5, 1.0, 100)


def test_the_command_finds_draws_and_logs_a_rate(command, images, tmp_path):
    arguments = [
        *small_arguments(images),
        f"cache_folder={tmp_path}/cache",
        "backbone=scratch_cnn",
        "find_lr.steps=20",
    ]
    ran = command("pipeline.find_lr", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert "finetune.learning_rate" in ran.stderr
    assert "suggested" in ran.stderr
    [folder] = (tmp_path / "runs").glob("*/find_lr")
    assert {file.name for file in folder.iterdir()} == {"rates.csv", "find_lr.png", "suggestion.json"}
    suggestion = json.loads((folder / "suggestion.json").read_text())
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [run] = client.search_runs(["1"], "tags.role = 'find_lr'")
    assert run.data.metrics["find_lr/suggested"] == pytest.approx(suggestion["suggested"])
    logged = sorted(client.get_metric_history(run.info.run_id, "find_lr/smoothed"), key=lambda metric: metric.step)
    rates = pd.read_csv(folder / "rates.csv")
    assert 1 < len(rates) <= 20
    assert [metric.value for metric in logged] == pytest.approx(rates["smoothed"].tolist())


def test_an_unknown_key_is_an_error():
    assert "train.epocs" in call(find_lr.main, "train.epocs=3")
