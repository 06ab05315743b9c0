"""Several processes train as one does, and only one of them writes."""

import json
import subprocess
import sys

import mlflow
import pandas as pd
import pytest

from tests.support.images import small_arguments
from tests.support.servers import free_port


@pytest.mark.cluster
def test_two_workers_agree_with_one_process(command, tmp_path, images):
    arguments = [
        *small_arguments(images), "train.epochs=2", "train.dropout=0", "finetune.dropout=0", "hardware.precision=float32", "tracking.system_metrics_interval=null",
        "finetune.unfreeze=-1", "hardware.intra_op_threads=1",
    ]  # fmt: skip
    alone = command("pipeline.finetune", *arguments, "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.finetune", *arguments, "hardware.strategy=multi_worker", "hydra.run.dir=together"],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env=command.environment
            | {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})},
        )
        for index in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=1500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    for phase in ("train", "finetune"):
        one, two = (pd.read_csv(tmp_path / folder / phase / "history.csv") for folder in ("alone", "together"))
        pd.testing.assert_frame_equal(one, two, rtol=2e-3, atol=1e-5)
    runs = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert sorted(run.data.params["hardware.strategy"] for run in runs) == ["multi_worker", "one_device"]


@pytest.mark.parametrize(
    ("environment", "message"), [({}, "needs the environment variable TF_CONFIG"), ({"TF_CONFIG": "{}"}, "TF_CONFIG: invalid value '{}'")]
)  # fmt: skip
def test_workers_that_do_not_know_each_other_are_told_how(command, tmp_path, images, environment, message):
    ran = command("pipeline.train", *small_arguments(images), "hardware.strategy=multi_worker", **environment)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
