"""A team's tracking server that goes away, comes back, or does not."""

import os
import subprocess
import sys
import time

import mlflow
import pytest

from pipeline.storage.files import read_json
from pipeline.tracking.tags import computed_by
from tests.support.images import small_arguments
from tests.support.servers import MlflowServer, postgres, postgres_programs

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed"),
]

EPOCHS = 150


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with postgres(folder / "postgres") as database:
        running = MlflowServer(database, folder / "mlflow")
        running.start()
        yield running
        running.stop()


def arguments(images, tmp_path, *more):
    return [
        "pipeline.train", *small_arguments(images), f"cache_folder={tmp_path}/cache", "backbone=scratch_cnn", "tracking=server",
        f"train.epochs={EPOCHS}", "train.early_stopping_patience=null", "tracking.system_metrics_interval=null", "hydra.run.dir=job", *more,
    ]  # fmt: skip


def begin(command, server, tmp_path, *line):
    process = subprocess.Popen(
        [sys.executable, "-m", *line],
        cwd=tmp_path, env=command.environment | {"MLFLOW_TRACKING_URI": server.uri}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = tmp_path / "job" / "train.log"
    while process.poll() is None and not (log.exists() and "epoch 3 of" in log.read_text()):
        time.sleep(0.1)
    return process


def steps(server, run_id, metric):
    return [point.step for point in mlflow.MlflowClient(server.uri).get_metric_history(run_id, metric)]


def test_a_server_that_goes_away_for_a_while_gets_every_epoch_once(command, server, tmp_path, images):
    process = begin(command, server, tmp_path, *arguments(images, tmp_path))
    server.stop()
    try:
        time.sleep(5)
    finally:
        server.start()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "the store is unreachable" in errors
    run_id = read_json(tmp_path / "job" / "train" / "run.json")["run_id"]
    for metric in ("training/loss", "training/val_accuracy", "training/learning_rate"):
        assert sorted(steps(server, run_id, metric)) == list(range(1, EPOCHS + 1))
    run = mlflow.MlflowClient(server.uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert not list((tmp_path / "cache").glob("undelivered-*.json"))


def test_what_a_server_that_stayed_away_lacks_is_delivered_later(command, server, tmp_path, images):
    line = arguments(images, tmp_path, "tracking.wait_seconds=1", "seed=7")
    process = begin(command, server, tmp_path, *line)
    server.stop()
    try:
        _, errors = process.communicate()
        assert process.returncode == 1
        assert "outputs are complete in" in errors
        assert "python -m pipeline.sync" in errors
        assert "Traceback" not in errors
        assert (tmp_path / "job" / "train" / "model.keras").exists()
        away = command("pipeline.sync", "--folder", str(tmp_path / "cache"))
        assert away.returncode == 1
        assert "Not delivered, and still pending" in away.stderr
    finally:
        server.start()
    run_id = read_json(tmp_path / "job" / "train" / "run.json")["run_id"]
    delivered = command("pipeline.sync", "--folder", str(tmp_path / "cache"))
    assert delivered.returncode == 0, delivered.stderr
    assert f"run {run_id}: delivered" in delivered.stdout
    assert sorted(steps(server, run_id, "training/val_loss")) == list(range(1, EPOCHS + 1))
    run = mlflow.MlflowClient(server.uri).get_run(run_id)
    assert (run.info.status, computed_by(run.data.tags)["train"]) == ("FINISHED", run_id)
    assert "No pending data" in command("pipeline.sync", "--folder", str(tmp_path / "cache")).stdout


def test_machines_that_start_on_a_new_experiment_at_once_all_use_it(server, tmp_path):
    code = """
import sys, time
from pipeline.config import TrackingConfig
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.tracking.store import connect
tracking = check(composed(["tracking=server", "tracking.experiment=" + sys.argv[1]])).tracking
time.sleep(max(0, float(sys.argv[2]) - time.time()))
print(connect(tracking)[1])
"""
    for number in range(3):
        # Each has a checkout of its own, so that no lock of one keeps the others waiting.
        machines = []
        for machine in range(4):
            (tmp_path / str(machine)).mkdir(exist_ok=True)
            environment = os.environ | {"MLFLOW_TRACKING_URI": server.uri, "DVC_ROOT": str(tmp_path / str(machine))}
            line = [sys.executable, "-c", code, f"new{number}", str(time.time() + 15)]
            machines.append(subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        printed = [each.communicate() for each in machines]
        assert [each.returncode for each in machines] == [0] * 4, printed
        assert len({out for out, _ in printed}) == 1
