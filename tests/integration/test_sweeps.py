"""What survives: a killed process, a dead run, workers of every launcher."""

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import mlflow
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.jobs.job import run_job
from pipeline.storage.files import read_json, write_json
from pipeline.system import processes
from pipeline.system.errors import PipelineError
from pipeline.system.machine import part
from pipeline.tracking.tags import FOLDER, PROCESS, computed_by
from tests.support.commands import runs, small, steps
from tests.support.experiments import run_stages


def test_after_a_kill_the_same_command_resumes_in_the_same_run(command, tmp_path, images):
    arguments = small(images, tmp_path, "train.epochs=60", "train.early_stopping_patience=null", "hydra.run.dir=job")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.train", *arguments],
        cwd=tmp_path, env=command.environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    log = tmp_path / "job" / "train.log"
    while process.poll() is None and not (log.exists() and "epoch 20 of" in log.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    [run] = runs(tmp_path)
    assert run.info.status == "RUNNING"
    [state] = (tmp_path / "cache").glob("resume-train-*/*.npz")
    assert read_json(state.with_name("seconds.json")) > 0
    # As if it had taken long until then.
    write_json(state.with_name("seconds.json"), 5000.0)

    again = command("pipeline.train", *arguments)
    assert again.returncode == 0, again.stderr
    assert "prepare: up to date" in again.stderr
    assert "Resuming interrupted training after epoch" in again.stderr
    assert f"the process of run {run.info.run_id} died; the run is marked as KILLED" in again.stderr
    assert log.read_text().count("epoch 10 of") == 1
    [run] = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert steps(tmp_path, run) == list(range(1, 61))
    assert run.data.metrics["seconds/train"] > 5000
    assert not state.parent.exists()
    assert [item.name for item in (tmp_path / "job").iterdir() if item.name.startswith(".")] == [".hydra"]


@pytest.fixture
def ended_process():
    """Name of a process that has ended."""
    code = "from pipeline.system.processes import own; print(own())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_is_dead_only_if_that_can_be_seen(ended_process):
    own = processes.own()
    machine, boot, namespace, *process = own.split("/")
    assert not processes.is_dead(own)
    assert processes.is_alive(own)
    assert processes.is_dead(ended_process)
    assert not processes.is_alive(ended_process)
    assert not processes.is_dead("/".join(["elsewhere", boot, namespace, *process]))
    assert not processes.is_dead("/".join([machine, boot, "another container", *process]))
    assert processes.is_dead("/".join([machine, "an earlier start", namespace, *process]))
    assert processes.is_dead("/".join([machine, boot, namespace, process[0], "1"]))


def test_dead_runs_are_marked_by_whoever_starts_next_and_others_are_left_alone(configure, tmp_path, ended_process):
    config = configure("backbone=scratch_cnn")
    client = mlflow.MlflowClient(config.tracking.uri)
    experiment_id = client.create_experiment(config.tracking.experiment, (tmp_path / "mlartifacts").as_uri())
    elsewhere = ended_process.replace(ended_process.split("/")[0], "elsewhere")

    def left(process, folder):
        tags = {"role": "experiment", PROCESS: process, FOLDER: str(folder)}
        return client.create_run(experiment_id, tags=tags).info.run_id

    dead, unknown = left(ended_process, "anywhere"), left(elsewhere, "anywhere")
    # Its folder is locked by us, so that nobody works there.
    here = left(elsewhere, tmp_path / "job")
    # Of a version whose tags had no prefix, and of a sweep.
    older = client.create_run(experiment_id, tags={"role": "experiment", "process": ended_process}).info.run_id
    sweep = client.create_run(experiment_id, tags={"role": "sweep", PROCESS: ended_process}).info.run_id
    run_stages(config, tmp_path / "job", "prepare")
    assert {each: client.get_run(each).info.status for each in (dead, unknown, here, older, sweep)} == {
        dead: "KILLED",
        unknown: "RUNNING",
        here: "KILLED",
        older: "KILLED",
        sweep: "KILLED",
    }


@pytest.mark.slow
def test_of_two_jobs_with_the_same_phase_1_one_goes_on_where_the_other_was_killed(command, tmp_path, images):
    """Both jobs, and one that computes all itself, end with the same numbers."""
    epochs = ["train.epochs=120", "train.early_stopping_patience=null"]

    def arguments(name, cache="cache"):
        own = [f"hydra.run.dir={name}", f"finetune.learning_rate={len(name)}e-4"]
        return small(images, tmp_path, *epochs, *own, f"cache_folder={tmp_path}/{cache}")

    def begin(name):
        line = [sys.executable, "-m", "pipeline.train", *arguments(name)]
        return subprocess.Popen(line, cwd=tmp_path, env=command.environment, stderr=subprocess.PIPE, text=True)

    def wait_for(text, name, *processes):
        log = tmp_path / name / "train.log"
        while all(each.poll() is None for each in processes) and not (log.exists() and text in log.read_text()):
            time.sleep(0.05)
        assert [each.communicate() for each in processes if each.poll() is not None] == []

    # The second starts for as long as the first trains its first epochs, on any machine.
    first = begin("a")
    wait_for("train: started", "a", first)
    second = begin("bb")
    wait_for("train: another process is computing the same result; waiting for it", "bb", first, second)
    wait_for("epoch 12 of", "a", first, second)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    _, errors = second.communicate()
    assert second.returncode == 0, errors
    assert "Resuming interrupted training after epoch" in errors
    assert "epoch 2 of" not in errors

    again = command("pipeline.train", *arguments("a"))
    assert again.returncode == 0, again.stderr
    assert "train: result copied from the cache" in again.stderr
    alone = command("pipeline.train", *arguments("ccc", "another"))
    assert alone.returncode == 0, alone.stderr

    found = {run.data.params["finetune.learning_rate"]: run for run in runs(tmp_path)}
    assert sorted(found) == ["0.0001", "0.0002", "0.0003"]
    computed = [computed_by(run.data.tags)["train"] for _, run in sorted(found.items())]
    assert computed == [found["0.0002"].info.run_id] * 2 + [found["0.0003"].info.run_id]
    for run in found.values():
        assert run.info.status == "FINISHED"
        assert steps(tmp_path, run) == list(range(1, 121))
    numbers = [
        {name: value for name, value in run.data.metrics.items() if not name.startswith(("seconds/", "system/"))}
        for run in found.values()
    ]
    assert numbers[0] == numbers[1] == numbers[2]
    for name in ("history.csv", "metrics.json", "model.keras", "label_issues.csv"):
        copies = [(tmp_path / job / "train" / name).read_bytes() for job in ("a", "bb", "ccc")]
        assert copies[0] == copies[1] == copies[2]


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_no_running_run_and_the_same_command_goes_on_in_it(command, tmp_path, images):
    sweep = ["pipeline.train", "-m", *small(images, tmp_path, "train.early_stopping_patience=null", "seed=1,2")]
    line = [sys.executable, "-m", *sweep, "train.epochs=400"]
    process = subprocess.Popen(line, cwd=tmp_path, env=command.environment, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(
        "epoch 3 of" in log.read_text() for log in tmp_path.glob("runs/*/train.log")
    ):
        time.sleep(0.1)
    [parent] = runs(tmp_path, "sweep")
    assert parent.info.status == "RUNNING"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    [killed] = runs(tmp_path)
    assert killed.data.tags[MLFLOW_PARENT_RUN_ID] == parent.info.run_id
    assert [run.info.status for run in (killed, *runs(tmp_path, "sweep"))] == ["KILLED", "KILLED"]


@pytest.mark.slow
def test_two_commands_with_the_same_sweep_at_once_do_each_job_once(command, tmp_path, images):
    sweep = [sys.executable, "-m", "pipeline.train", "-m", *small(images, tmp_path, "seed=1,2")]
    commands = [
        subprocess.Popen(sweep, cwd=tmp_path, env=command.environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [each.communicate()[1] for each in commands]
    assert [each.returncode for each in commands] == [0, 0], errors
    assert "".join(errors).count("train: started") == 2
    assert sorted(run.data.params["seed"] for run in runs(tmp_path)) == ["1", "2"]
    assert {run.info.status for run in runs(tmp_path)} == {"FINISHED"}
    assert all(steps(tmp_path, run) == [1] for run in runs(tmp_path))


def test_a_job_that_failed_is_tried_again_only_when_asked(configure, tmp_path):
    wrong = ["backbone=scratch_cnn", "finetune.unfreeze=nonsense", "train.epochs=1"]
    config = configure(*wrong)
    for _ in range(2):
        # A single run is asked for by hand.
        with pytest.raises(PipelineError, match="nonsense"):
            run_job(None, config, tmp_path / "job", sweep=False)
    before = run_job(None, config, tmp_path / "job", sweep=True)
    assert (before.status, before.status.failed) == ("failed before", True)
    assert "set sweep.retry_failed=true to run it again" in before.reason
    with pytest.raises(PipelineError, match="nonsense"):
        run_job(None, configure(*wrong, "sweep.retry_failed=true"), tmp_path / "job", sweep=True)
    assert run_job("train", config, tmp_path / "job", sweep=True).status == "skipped"


@pytest.mark.parametrize(
    ("items", "workers", "parts"),
    [
        (["0", "1", "2", "3"], 2, [["0", "2"], ["1", "3"]]),
        (["0", "1", "2"], 2, [["0", "2"], ["1"]]),
        (["0", "1"], 4, [["0"], ["1"], ["0"], ["1"]]),
    ],
)
def test_cores_and_gpus_are_divided(items, workers, parts):
    assert [part(items, number, workers) for number in range(workers)] == parts


@contextmanager
def ray_cluster():
    """A cluster of two nodes with a core each, on this machine; its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


@pytest.mark.cluster
def test_every_launcher_gives_the_same_and_knows_what_the_others_did(command, tmp_path, images, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    sweep = ["pipeline.train", "-m", *small(images, tmp_path)]
    one_by_one = command(*sweep, "seed=1,2", "hydra.sweep.dir=alone", f"cache_folder={tmp_path}/alone-cache")
    assert one_by_one.returncode == 0, one_by_one.stderr
    # Two GPUs, as far as the environment says: joblib runs one job on each.
    joblib = command(*sweep, "seed=1,2", CUDA_VISIBLE_DEVICES="0,1")
    assert "2 done" in joblib.stderr, joblib.stderr
    assert {f"worker {number} of 2: cores" for number in (1, 2)} == set(
        re.findall(r"worker . of 2: cores", joblib.stderr)
    )
    assert {"GPUs 0", "GPUs 1"} == set(re.findall("GPUs .", joblib.stderr))
    submitit = command(*sweep, "seed=1,3", "hydra/launcher=submitit_local")
    assert "1 done, 1 skipped" in submitit.stderr, submitit.stderr
    with ray_cluster() as address:
        environment = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}
        ray = command(*sweep, "seed=3,4,5", "hydra/launcher=ray", **environment)
    assert "2 done, 1 skipped" in ray.stderr, ray.stderr
    for file in (tmp_path / "alone").glob("*/train/history.csv"):
        key = file.parent.parent.name
        assert (tmp_path / "runs" / key / "train" / "history.csv").read_text() == file.read_text()
    assert sorted(run.data.params["seed"] for run in runs(tmp_path)) == ["1", "1", "2", "2", "3", "4", "5"]
    assert {run.info.status for run in runs(tmp_path)} == {"FINISHED"}
