import json
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from benchmarks.same_results import main

WEIGHTS = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)


def write_job(folder: Path, weights: np.ndarray = WEIGHTS, *, loss: float = 0.1, **metrics: float) -> Path:
    for stage in ("prepare", "train", "finetune", "evaluate"):
        (folder / stage).mkdir(parents=True)
        (folder / stage / "run.json").write_text(json.dumps({"run_id": folder.name}))
    (folder / "evaluate" / "metrics.json").write_text(
        json.dumps({"train": {"loss": loss, "nan": float("nan")}} | metrics)
    )
    pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}).to_csv(folder / "train" / "history.csv", index=False)
    table = pd.DataFrame({"group": ["a", None], "probabilities": [np.float32([0.25, 0.75]), np.float32([1, 0])]})
    table.to_parquet(folder / "evaluate" / "predictions.parquet")
    with h5py.File(folder / "weights.h5", "w") as file:
        file["layers/dense/vars/0"] = weights
    with zipfile.ZipFile(folder / "train" / "model.keras", "w") as archive:
        archive.write(folder / "weights.h5", "model.weights.h5")
    return folder


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """Compares tmp_path/before with tmp_path/after; gives the exit status and what was printed."""

    def run() -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["same_results", str(tmp_path / "before"), str(tmp_path / "after")])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code), capsys.readouterr().out

    write_job(tmp_path / "before" / "small")
    return run


def test_ids_column_orders_moved_files_and_new_keys_are_no_differences(tmp_path, compare):
    job = write_job(tmp_path / "after" / "small", first_layer=3)
    (job / "train" / "run.json").write_text('{"run_id": "another"}')
    (job / "train" / "history.csv").unlink()
    pd.DataFrame({"loss": [0.5, 0.25], "epoch": [1, 2]}).to_csv(job / "finetune" / "history.csv", index=False)
    status, printed = compare()
    assert status == 0
    assert "evaluate/metrics.json: /first_layer" in printed
    assert "1 of 1 jobs are the same, 0 differ" in printed


def test_one_bit_of_a_weight_is_a_difference(tmp_path, compare):
    weights = WEIGHTS.copy()
    weights[1, 2] = np.nextafter(weights[1, 2], np.float32(2))
    write_job(tmp_path / "after" / "small", weights)
    status, printed = compare()
    assert status == 1
    assert "train/model.keras: layers/dense/vars/0: 1 of 6 values differ" in printed


def test_a_metric_a_table_and_a_file_that_differ_are_named(tmp_path, compare):
    job = write_job(tmp_path / "after" / "small", loss=0.1 + 1e-16)
    pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.26]}).to_csv(job / "train" / "history.csv", index=False)
    (job / "evaluate" / "predictions.parquet").unlink()
    status, printed = compare()
    assert status == 1
    assert "evaluate/metrics.json: /train/loss" in printed
    assert "train/history.csv: loss: 1 of 2 values differ; the first was 0.25 and is 0.26" in printed
    assert "evaluate/predictions.parquet is missing" in printed


def test_a_job_that_was_not_run_again_is_a_difference(tmp_path, compare):
    (tmp_path / "after").mkdir()
    status, printed = compare()
    assert status == 1
    assert "not in AFTER" in printed
