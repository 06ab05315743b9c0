"""Stages that can't end: what they leave, what they say, and how the next start continues."""

import errno
import os
from dataclasses import replace

import mlflow
import pandas as pd
import pytest

from pipeline.jobs.identity import Experiment
from pipeline.jobs.stage import execute, is_done
from pipeline.storage.files import read_json
from pipeline.system.errors import DivergedError, PipelineError
from tests.support.experiments import folders, run_stages
from tests.support.images import write_images


def the_run(config):
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    return run


def test_a_diverged_experiment_is_marked_so(configure, tmp_path):
    config = configure("backbone=scratch_cnn", "train.learning_rate=1e30", "train.epochs=5", "train.label_issues=false")
    with pytest.raises(DivergedError):
        run_stages(config, tmp_path / "job")
    run = the_run(config)
    assert run.info.status == "FAILED"
    assert "lower the learning rate" in run.data.tags["diverged"]


def test_a_stage_that_fails_leaves_its_folder_as_it_was_and_a_failed_run(configure, tmp_path):
    config = configure("finetune.unfreeze=nonsense", "backbone=scratch_cnn", "train.epochs=1")
    with pytest.raises(PipelineError, match="nonsense"):
        run_stages(config, tmp_path / "job")
    assert folders(tmp_path / "job") == ["prepare", "train"]
    run = the_run(config)
    assert run.info.status == "FAILED"
    assert "complete" not in run.data.tags


def test_an_interrupted_run_is_marked_as_killed(configure, tmp_path, monkeypatch):
    config = configure("backbone=scratch_cnn")
    monkeypatch.setattr("pipeline.stages.train.fit_phase", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_stages(config, tmp_path / "job", "train")
    assert the_run(config).info.status == "KILLED"
    assert folders(tmp_path / "job") == ["prepare"]


def test_a_stage_without_its_inputs_says_what_to_run(configure, tmp_path):
    with pytest.raises(PipelineError, match=r"train needs the outputs of prepare.*dvc repro"):
        execute("train", Experiment.of(configure(), tmp_path / "job"))


def test_a_folder_of_another_experiment_is_not_taken_for_this_one(configure, tmp_path):
    config = configure("backbone=scratch_cnn", "train.epochs=1")
    first = run_stages(config, tmp_path / "job", "finetune")
    other = run_stages(replace(config, seed=config.seed + 1), tmp_path / "job", "train")
    assert folders(tmp_path / "job") == ["prepare", "train"]
    assert is_done("train", other)
    assert not is_done("train", first)


def test_a_model_cut_in_half_is_made_again(configure, tmp_path, caplog):
    config = configure("backbone=scratch_cnn", "train.epochs=1", "finetune.epochs=1")
    run_stages(config, tmp_path / "job", "train")
    model = tmp_path / "job" / "train" / "model.keras"
    whole, prepared = model.read_bytes(), (tmp_path / "job" / "prepare" / "run.json").stat().st_ino
    model.write_bytes(whole[: len(whole) // 2])
    run_stages(config, tmp_path / "job", "finetune")
    assert model.read_bytes() == whole
    assert "has missing or truncated files (model.keras)" in caplog.text
    assert (tmp_path / "job" / "prepare" / "run.json").stat().st_ino == prepared


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(configure, tmp_path, monkeypatch):
    config = configure("backbone=scratch_cnn")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as while_full:
        while_full.setattr("pipeline.stages.train.save_classifier", full)
        with pytest.raises(PipelineError, match=r"train: .*No space left.*run the same command to resume"):
            run_stages(config, tmp_path / "job", "train")
    assert folders(tmp_path / "job") == ["prepare"]
    assert is_done("train", run_stages(config, tmp_path / "job", "train"))
    client = mlflow.MlflowClient(config.tracking.uri)
    history = client.get_metric_history(the_run(config).info.run_id, "training/loss")
    assert sorted(point.step for point in history) == [1, 2]


def test_unreadable_images_are_quarantined_and_counted(configure, tmp_path):
    folder = write_images(tmp_path / "images", per_class=8)
    (folder / "red" / "empty.png").touch()
    (folder / "red" / "text.jpg").write_text("no image")
    (folder / "red" / "cut.png").write_bytes((folder / "red" / "000.png").read_bytes()[:900])
    (folder / "red" / "notes.txt").write_text("hello")
    (folder / "red" / "001.png").rename(folder / "red" / os.fsdecode(b"\xff.png"))
    run_stages(configure(f"dataset.path={folder}"), tmp_path / "job", "prepare")
    quarantine = pd.read_csv(tmp_path / "job" / "prepare" / "quarantine.csv", keep_default_na=False)
    reasons = dict(zip(quarantine["path"], quarantine["reason"], strict=True))
    readable = {path: reason for path, reason in reasons.items() if "not UTF-8" not in reason}
    assert sorted(readable) == ["red/cut.png", "red/empty.png", "red/text.jpg"]
    assert quarantine["reason"].str.contains("damaged|empty file|not an image|name is not UTF-8").all()
    assert len(reasons) == 4
    assert (quarantine.set_index("path").loc[list(readable), "sha256"].str.len() == 64).all()
    metrics = read_json(tmp_path / "job" / "prepare" / "metrics.json")
    assert (metrics["images"], metrics["quarantined"], metrics["left_out"]) == (23, 4, 1)


def test_images_that_nobody_can_read_are_no_class(configure, tmp_path):
    folder = write_images(tmp_path / "images", per_class=8)
    for file in (folder / "red").iterdir():
        file.write_bytes(b"")
    with pytest.raises(PipelineError, match="'red' has 0"):
        run_stages(configure(f"dataset.path={folder}"), tmp_path / "job", "prepare")


def test_a_given_split_that_nobody_can_read_is_an_error(configure, tmp_path):
    write_images(tmp_path / "images" / "train", per_class=8)
    for name in ("blue", "red"):
        (tmp_path / "images" / "test" / name).mkdir(parents=True)
        (tmp_path / "images" / "test" / name / "a.png").write_bytes(b"x")
    with pytest.raises(PipelineError, match="No image of the test split can be read"):
        run_stages(configure(f"dataset.path={tmp_path / 'images'}"), tmp_path / "job", "prepare")
