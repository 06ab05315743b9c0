"""The commands as people type them, rightly and wrongly."""

import signal
import subprocess
import sys
import time

import mlflow
import pandas as pd
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.jobs import launch
from tests.support.commands import runs
from tests.support.images import small_arguments, write_images


def complete(tmp_path):
    return [run for run in runs(tmp_path) if run.data.tags.get("complete") == "true"]


def table(run, name, folder) -> pd.DataFrame:
    """A table of a sweep's run."""
    uri = f"sqlite:///{folder}/mlflow.db"
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=f"sweep/{name}", tracking_uri=uri)
    return pd.read_csv(path, keep_default_na=False)


def check_parent(parent, done, folder):
    """The run of a sweep of learning rates, with two jobs done and one failed, has what people look for."""
    tags, metrics = parent.data.tags, parent.data.metrics
    assert parent.info.status == "FAILED"
    assert parent.info.run_name == "sweep colours: finetune.learning_rate=1e-3,2e-3,1e30"
    assert "complete" not in tags
    assert {run.data.tags[MLFLOW_PARENT_RUN_ID] for run in done} == {parent.info.run_id}
    assert (metrics["sweep/jobs"], metrics["sweep/failed"]) == (3, 1)
    jobs = table(parent, "jobs.csv", folder)
    assert jobs["status"].tolist() == ["done", "done", "failed"]
    assert set(jobs["run"][:2]) == {run.info.run_id for run in done}
    assert "diverged" in jobs["reason"][2]
    board = table(parent, "leaderboard.csv", folder)
    assert list(board)[:5] == ["rank", "finetune.learning_rate", "accuracy", "95% interval from", "95% interval to"]
    assert tags["best_run"] in set(board["runs"])
    best = next(run for run in done if run.info.run_id == tags["best_run"])
    assert metrics["best/accuracy"] == best.data.metrics["test/accuracy"]
    assert f"[{best.info.run_name}](#/experiments/1/runs/{best.info.run_id})" in tags["mlflow.note.content"]
    artifacts = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").list_artifacts(parent.info.run_id, "sweep")
    assert {item.path for item in artifacts} == {
        f"sweep/{name}" for name in ("compare.html", "jobs.csv", "leaderboard.csv")
    }
    # The name says what differs, with the values of the defaults too.
    assert {"finetune.learning_rate 0.001", "finetune.learning_rate 0.002"} == {
        next(word for word in run.info.run_name.split(", ") if word.startswith("finetune.learning_rate"))
        for run in done
    }


@pytest.mark.slow
def test_a_sweep_of_the_whole_pipeline_and_its_repeat(command, tmp_path, images):
    """Jobs in folders of their own, one experiment each; nothing is done twice, one failure stops nothing."""
    jobs = "finetune.learning_rate=1e-3,2e-3,1e30"
    # A reference to another setting reaches the jobs, and the sweep's name, as it was typed.
    refers = "finetune.class_weight=${train.class_weight}"
    diverging = ["finetune.optimizer=sgd", "finetune.warmup_epochs=0"]
    sweep = ["pipeline", "-m", *small_arguments(images), "backbone=scratch_cnn", *diverging, refers, jobs]
    first = command(*sweep)
    assert first.returncode == 1
    assert "The training diverged in epoch 2" in first.stderr
    assert "Traceback" not in first.stderr
    done = complete(tmp_path)
    assert sorted(run.data.params["finetune.learning_rate"] for run in done) == ["0.001", "0.002"]
    assert {run.data.tags["sweep"] for run in done} == {" ".join(sweep[2:])}
    folders = [folder for folder in (tmp_path / "runs").iterdir() if folder.is_dir()]
    assert len(folders) == 3
    assert sum((folder / "evaluate").exists() for folder in folders) == 2
    # Phase 1 is the same in all three: one job computes it.
    logs = [(folder / "pipeline.log").read_text() for folder in folders]
    assert sorted(log.count("epoch 1 of 1") for log in logs) == [0, 0, 1]
    assert all((folder / "train" / "model.keras").exists() for folder in folders)
    assert "2 done, 1 failed" in first.stderr
    [parent] = runs(tmp_path, "sweep")
    check_parent(parent, done, tmp_path)

    again = command(*sweep)
    assert again.returncode == 1
    assert "1 failed before, 2 skipped" in again.stderr
    assert "sweep.retry_failed=true" in again.stderr
    assert "started" not in again.stderr
    assert len(complete(tmp_path)) == 2
    assert [run.info.run_id for run in runs(tmp_path, "sweep")] == [parent.info.run_id]

    retried = command(*sweep[:-1], "finetune.learning_rate=1e-3,1e30", "sweep.retry_failed=true")
    assert "1 failed, 1 skipped" in retried.stderr
    assert "finetune: started" in retried.stderr
    assert command(*sweep[:-1], "finetune.learning_rate=1e-3,2e-3").returncode == 0
    # What two sweeps share is nested in the first one, and in the tables of both.
    other = next(run for run in runs(tmp_path, "sweep") if run.info.run_name.endswith("=1e-3,2e-3"))
    assert other.info.status == "FINISHED"
    assert {run.data.tags[MLFLOW_PARENT_RUN_ID] for run in complete(tmp_path)} == {parent.info.run_id}
    assert set(table(other, "jobs.csv", tmp_path)["run"]) == {run.info.run_id for run in done}

    compared = command("pipeline.compare", "--sweep", "learning_rate", "--html", "compare.html")
    assert compared.returncode == 0, compared.stderr
    assert "12 test images" in compared.stdout
    assert "Traceback" not in compared.stderr
    assert (tmp_path / "compare.html").stat().st_size > 10_000
    best = command("pipeline.compare", "--best")
    assert best.stdout.strip() in {run.info.run_id for run in done}


@pytest.mark.slow
def test_jobs_at_the_same_time_keep_apart(command, tmp_path, images):
    """Two processes, two experiments, a tracking store that neither has seen; and one experiment twice at once."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.train", *small_arguments(images), "backbone=scratch_cnn", f"seed={seed}"],
            cwd=tmp_path, env=command.environment, stderr=subprocess.PIPE, text=True,
        )
        for seed in (1, 2, 2)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert sorted(run.data.params["seed"] for run in runs(tmp_path)) == ["1", "2", "2"]
    assert {run.info.status for run in runs(tmp_path)} == {"FINISHED"}
    assert len([folder for folder in (tmp_path / "runs").iterdir() if folder.is_dir()]) == 2


def test_a_stage_brings_its_inputs_up_to_date(command, tmp_path, images):
    ran = command("pipeline.finetune", *small_arguments(images), "backbone=scratch_cnn", "hydra.run.dir=here")
    assert ran.returncode == 0, ran.stderr
    assert {item.name for item in (tmp_path / "here").iterdir()} >= {"prepare", "train", "finetune", "finetune.log"}
    again = command("pipeline.finetune", *small_arguments(images), "backbone=scratch_cnn", "hydra.run.dir=here")
    assert "train: up to date" in again.stderr
    assert "finetune: finished" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.epocs=3"], "did you mean train.epochs"),
        (["+train.epocs=3"], "did you mean train.epochs"),
        (["-m", "train.epochs=1,zero"], "train.epochs: invalid value 'zero'; expected an integer >= 1"),
        (["backbone=vgg61"], "did you mean"),
        (["dataset.path=images"], "dataset=folder"),
        (["train.epochs=["], "is not a valid Hydra override"),
        (["evaluate.corruptions=some"], "evaluate.corruptions: invalid value 'some'; expected one of none, all"),
        (["--dvc"], "outputs/settings/config.yaml does not exist; run dvc repro"),
    ],
)
def test_wrong_words_get_a_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pipeline.train", *arguments])
    monkeypatch.setattr(launch, "install_handlers", lambda: None)
    monkeypatch.setattr(launch, "start_logging", lambda file: None)
    with pytest.raises(SystemExit) as ended:
        launch.main("train")
    assert message in str(ended.value.code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["train.epocs=3"], ["dataset=folder", "dataset.path=no/where"]])
def test_a_sentence_is_all_that_people_see(command, arguments, tmp_path):
    """Before Hydra starts a job, and where the job is what fails."""
    ran = command("pipeline.train", *arguments)
    assert ran.returncode == 1
    assert "did you mean train.epochs" in ran.stderr or "'no/where' does not exist" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_a_tracking_server_that_is_not_there_is_named(command, images):
    ran = command(
        "pipeline.prepare",
        *small_arguments(images),
        "tracking.uri=http://127.0.0.1:9",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )
    assert ran.returncode == 1
    assert "tracking: the store http://127.0.0.1:9 can't be used" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_nothing_half_done(command, tmp_path, how):
    folder = write_images(tmp_path / "images", per_class=30)
    arguments = [
        *small_arguments(folder),
        "backbone=scratch_cnn",
        "train.epochs=100000",
        "train.early_stopping_patience=null",
        "hydra.run.dir=job",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.train", *arguments],
        cwd=tmp_path,
        env=command.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "job" / "train.log"
    while process.poll() is None and not (log.exists() and "epoch 2 of" in log.read_text()):
        time.sleep(0.2)
    process.send_signal(how)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "resume after the last completed epoch" in errors
    assert sorted(item.name for item in (tmp_path / "job").iterdir()) == [
        ".hydra",
        "outcome.json",
        "prepare",
        "train.log",
    ]
    [run] = runs(tmp_path)
    assert run.info.status == "KILLED"
    assert run.data.metrics["training/val_accuracy"] > 0


def test_an_error_of_a_single_job_is_its_message_alone(command, images, tmp_path):
    arguments = [*small_arguments(images), "backbone=scratch_cnn", "train.class_weight={nope: 2}"]
    ran = command("pipeline.train", *arguments)
    assert ran.returncode == 1
    expected = "\ntrain.class_weight: unknown class 'nope'; the classes are 'blue', 'green', 'red'\n"
    assert ran.stderr.endswith(expected)
    assert "Error executing job" not in ran.stderr


def test_weights_that_are_not_here_name_the_ways_on(command, images, tmp_path):
    ran = command(
        "pipeline.train",
        "-m",
        *small_arguments(images),
        "backbone=vgg16,resnet50",
        HTTPS_PROXY="http://127.0.0.1:9",
        KERAS_HOME=str(tmp_path),
    )
    assert ran.returncode == 1
    assert "the ImageNet weights of vgg16 are not available" in ran.stderr
    assert "backbone.weights=<path>" in ran.stderr
    assert "Traceback" not in ran.stderr
    # It is answered once for all jobs, before any of them starts.
    assert ran.stderr.count("backbone.weights=<path>") == 2
    assert "HYDRA" not in ran.stderr
    assert not (tmp_path / "runs").exists()
    assert not runs(tmp_path)
