"""The rate range test: reading a curve, and the command from nothing to MLflow."""

import json
import re

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline import find_lr
from pipeline.stages.find_lr import suggest_rate
from pipeline.system.errors import PipelineError
from tests.support.images import small_arguments
from tests.support.in_process import call

RATES = 1e-5 * 10 ** (np.arange(101) / 20)


def suggested_for(losses) -> float | None:
    return suggest_rate(list(losses), 1e-5, 1.0, 101)[1]


def test_the_rate_at_which_the_loss_falls_fastest_is_suggested():
    # The loss falls around 1e-3, and rises above 0.1.
    falls = 2 - 1.5 / (1 + (1e-3 / RATES) ** 3)
    losses = falls + np.maximum(0, np.log10(RATES) + 1) * 4
    table, suggested = suggest_rate(list(losses), 1e-5, 1.0, 101)
    np.testing.assert_allclose(table["learning_rate"], RATES)
    assert 1e-3 <= suggested <= 5e-3
    # Noise of batches changes little.
    noise = np.random.default_rng(1).normal(0, 0.05, 101)
    assert 1e-3 <= suggested_for(losses + noise) <= 6e-3


def test_a_loss_without_a_minimum_suggests_nothing():
    assert suggested_for(2 - np.linspace(0, 1, 101)) is None
    assert suggested_for(np.full(101, 2.3)) is None
    assert suggested_for(2 + np.linspace(0, 1, 101)) is None
    assert suggested_for(2 - np.linspace(0, 1, 101) + np.random.default_rng(1).normal(0, 0.02, 101)) is None


def test_a_loss_that_ends_as_no_number_has_had_its_minimum():
    falling = 2 - 1.5 / (1 + (1e-3 / RATES[:60]) ** 3)
    assert suggested_for(falling) is None
    assert 1e-3 <= suggested_for([*falling, np.nan]) <= 5e-3


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
    # Two batches an epoch.
    assert re.search(r"passes over \d\d training images, .* Lower finetune.batch_size or find_lr.steps", ran.stderr)
    [folder] = (tmp_path / "runs").glob("*/find_lr")
    assert {file.name for file in folder.iterdir()} == {"rates.csv", "find_lr.png", "suggestion.json"}
    suggestion = json.loads((folder / "suggestion.json").read_text())
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [run] = client.search_runs(["1"], "tags.role = 'find_lr'")
    assert run.data.metrics.get("find_lr/suggested") == pytest.approx(suggestion["suggested"])
    assert run.data.metrics["find_lr/lowest"] == pytest.approx(suggestion["lowest"])
    assert ("no suggestion" in ran.stderr) == (suggestion["suggested"] is None)
    logged = sorted(client.get_metric_history(run.info.run_id, "find_lr/smoothed"), key=lambda metric: metric.step)
    rates = pd.read_csv(folder / "rates.csv")
    assert 1 < len(rates) <= 20
    assert suggestion["lowest"] == pytest.approx(rates["learning_rate"][rates["smoothed"].argmin()])
    assert [metric.value for metric in logged] == pytest.approx(rates["smoothed"].tolist())


def test_an_unknown_key_is_an_error():
    assert "train.epocs" in call(find_lr.main, "train.epocs=3")
