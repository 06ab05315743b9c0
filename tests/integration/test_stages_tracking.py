"""The stages in MLflow: one complete run for each experiment, whatever happens to the store."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.exceptions import MlflowException

from pipeline.comparison.experiments import experiment_of
from pipeline.config import PHASES
from pipeline.inputs.manifest import images_digest, read_manifest
from pipeline.jobs.stage import is_done
from pipeline.models.saving import load_classifier
from pipeline.stages import STAGES
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from pipeline.tracking.ledger import ledger_of
from pipeline.tracking.tags import FOLDER, computed_by
from pipeline.training.temperature import at_temperature
from tests.support.experiments import folders, run_stages


def steps(config, run_id: str, metric: str) -> list[int]:
    history = mlflow.MlflowClient(config.tracking.uri).get_metric_history(run_id, metric)
    return [point.step for point in history]


def test_one_run_holds_the_whole_experiment(experiment):
    client = experiment.client
    run = client.get_run(experiment.run_id)
    assert run.info.status == "FINISHED"
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    assert tags["role"] == "experiment"
    assert tags["complete"] == "true"
    assert computed_by(tags) == dict.fromkeys(STAGES, run.info.run_id)
    assert set(tags) >= {
        "experiment_key", "git_commit", "git_dirty", "devices", "train.precision", "finetune.precision", "best_phase", "unfreeze",
    }  # fmt: skip
    assert params["finetune.learning_rate"] == "0.0003"
    assert params["backbone.name"] == "efficientnet_lite0"
    assert not any(value in ("", "None") for value in params.values())
    reported = experiment.json("evaluate", "metrics.json")
    for name in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "auc", "loss", "ece"):
        assert metrics[f"test/{name}"] == reported[reported["best"]][name]
    for phase in PHASES:
        assert metrics[f"test/{phase}/accuracy"] == reported[phase]["accuracy"]
    assert metrics["test/comparison/accuracy_difference"] == reported["comparison"]["accuracy_difference"]
    # Few enough to look through; all others are in tables.
    assert len([name for name in metrics if not name.startswith("system/")]) == 27
    every = experiment_of(run).all_metrics
    assert len(every) > 100
    assert every["test/comparison/mcnemar_p"] == reported["comparison"]["mcnemar_p"]
    assert every["test/train/macro_f1_low"] == reported["train"]["macro_f1_low"]
    trainable = experiment.json(reported["best"], "metrics.json")["trainable_parameters"]
    assert metrics["model/trainable_parameters"] == trainable
    assert all(metrics[f"model/{name}"] > 0 for name in ("size_mib", "prediction_milliseconds", "training_seconds"))
    assert len(tags["test_data"]) == len(tags["training_data"]) == 64
    assert "| accuracy |" in tags["mlflow.note.content"]
    assert f"runs/{run.info.run_id}/artifacts/report/report.html" in tags["mlflow.note.content"]
    for name in ("training/loss", "training/val_accuracy", "training/learning_rate"):
        assert steps(experiment.config, run.info.run_id, name) == list(range(1, 12))
    assert any(name.startswith("system/") for name in metrics)
    prepared = experiment.json("prepare", "metrics.json")
    assert every["prepare/drift/test/total_variation"] == prepared["drift"]["test"]["total_variation"]
    assert every["prepare/formats/PNG"] == every["prepare/images"] == 60
    environment = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/finetune/environment.json")
    assert environment["intra_op_threads"] == "2"
    artifacts = {item.path for stage in STAGES for item in client.list_artifacts(run.info.run_id, stage)}
    assert {
        "report/data.html", "report/duplicates.html", "report/label_issues.html",
        "prepare/metrics.csv", "finetune/metrics.csv", "evaluate/metrics.csv", "report/report.html", "evaluate/predictions.parquet", "train/label_issues.csv", "train/history.csv", "finetune/history.csv",
    } <= artifacts  # fmt: skip
    assert not any(path.endswith(".keras") for path in artifacts)


def test_tags_that_only_the_package_needs_have_its_prefix(experiment):
    tags = experiment.client.get_run(experiment.run_id).data.tags
    people = {
        "best_phase", "complete", "devices", "experiment_key", "finetune.precision", "git_commit", "git_dirty", "role", "test_data", "train.precision",
        "training_data", "unfreeze",
    }  # fmt: skip
    assert {name for name in tags if not name.startswith(("mlflow.", "pipeline."))} == people
    assert {name for name in tags if name.startswith("pipeline.")} <= {
        "pipeline.process", "pipeline.folder", "pipeline.stages", "pipeline.code_sha256", "pipeline.lock_sha256", "pipeline.lock_gpu_sha256",
        "pipeline.dvc_lock_sha256",
    }  # fmt: skip


def test_the_images_of_each_split_are_inputs_with_schema_profile_digest_and_source(experiment, images):
    run = experiment.client.get_run(experiment.run_id)
    inputs = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation", "test"}
    manifest = read_manifest(experiment.root / "prepare")
    for context, split in (("training", "train"), ("validation", "validation"), ("test", "test")):
        dataset, rows = inputs[context], manifest.split(split)
        assert dataset.name == images.name
        assert dataset.digest == images_digest(rows)[:8]
        assert mlflow.data.get_source(dataset).uri == str(images)
        profile = json.loads(dataset.profile)
        assert (profile["num_rows"], profile["num_classes"]) == (len(rows), 3)
        assert profile["images_per_class"] == rows["label"].value_counts().to_dict()
        columns = json.loads(dataset.schema)["mlflow_colspec"]
        assert [column["name"] for column in columns] == ["path", "label", "width", "height"]
    assert run.data.tags["test_data"].startswith(inputs["test"].digest)


def test_a_run_is_called_by_the_depth_that_was_chosen(experiment):
    run = experiment.client.get_run(experiment.run_id)
    assert run.data.params["finetune.unfreeze"] == "auto"
    assert run.data.tags["unfreeze"] == experiment.json("finetune", "metrics.json")["unfreeze"] == "all"
    # Of the settings that differ from the defaults, the number of threads is not shown.
    changed = "image_size 32, train.learning_rate 0.02, train.epochs 8, finetune.epochs 3"
    assert run.info.run_name == f"efficientnet_lite0 colours, unfreeze all, {changed}, {experiment.key[:6]}"


def test_a_run_names_the_experiments_that_it_has_in_dvc(configure, tmp_path, monkeypatch):
    config = configure()
    for name in ("calm-fox", "bold-owl", "calm-fox"):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        run_stages(config, tmp_path / name, "prepare")
    monkeypatch.delenv("DVC_EXP_NAME")
    run_stages(config, tmp_path / "job", "prepare")
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert run.data.tags["dvc_experiment"] == "calm-fox bold-owl"
    assert run.data.tags[FOLDER] == str(tmp_path / "job")


def test_the_logged_model_predicts_like_the_saved_one(experiment):
    mlflow.set_tracking_uri(experiment.config.tracking.uri)
    best = experiment.json("finetune", "metrics.json")["best"]
    saved, classes = load_classifier(experiment.root / best / "model.keras")
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    address = f"runs:/{experiment.run_id}/model"
    logged = mlflow.pyfunc.load_model(address)
    rows = logged.predict(pd.DataFrame({"image": list(images)}))["probabilities"]
    probabilities = np.array([list(row.values()) for row in rows])
    # It computes in the folded form, which is exact but for rounding, and has the temperature in its weights.
    calibrated = at_temperature(saved.predict(images, verbose=0), experiment.json("evaluate", "calibration.json")[best])
    np.testing.assert_allclose(probabilities, calibrated, atol=1e-5)
    assert logged.metadata.metadata["classes"] == classes
    assert logged.metadata.metadata["calibration"]["applied"] is True
    assert "tensorflow==2." in Path(mlflow.pyfunc.get_model_dependencies(address)).read_text()
    models = experiment.client.search_logged_models(["1"], filter_string=f"source_run_id='{experiment.run_id}'")
    assert len(models) == 1


def test_a_forced_repeat_is_a_new_run_that_holds_what_another_one_computed(own_experiment):
    # What is not yet logged to this store is logged, not repeated.
    run_stages(own_experiment.config, own_experiment.root)
    run_stages(own_experiment.config, own_experiment.root, "evaluate", repeat=True)
    first = read_json(own_experiment.root / "train" / "run.json")["run_id"]
    second = ledger_of(own_experiment.key, own_experiment.config).run_id
    assert second != first == own_experiment.run_id
    run = own_experiment.client.get_run(second)
    assert computed_by(run.data.tags)["train"] == first
    assert computed_by(run.data.tags)["evaluate"] == second
    assert steps(own_experiment.config, second, "training/val_loss") == list(range(1, 12))
    took = read_json(own_experiment.root / "train" / "run.json")["seconds"]
    assert run.data.metrics["seconds/train"] == took > 0
    assert run.data.metrics["seconds/evaluate"] > 0


def test_another_store_gets_the_whole_experiment_and_nothing_is_computed(
    experiment, own_experiment, empty_store, tmp_path
):
    shutil.copy(empty_store, tmp_path / "other.db")
    tracking = replace(experiment.config.tracking, uri=f"sqlite:///{tmp_path}/other.db", system_metrics_interval=None)
    config = replace(own_experiment.config, tracking=tracking)
    assert run_stages(config, tmp_path / "job").key == experiment.key
    [run] = mlflow.MlflowClient(tracking.uri).search_runs(["1"])
    assert run.data.tags["complete"] == "true"
    assert computed_by(run.data.tags) == dict.fromkeys(STAGES, experiment.run_id)
    assert steps(config, run.info.run_id, "training/loss") == list(range(1, 12))
    for stage in STAGES:
        assert read_json(tmp_path / "job" / stage / "run.json") == experiment.json(stage, "run.json")


@pytest.mark.parametrize(("log_model", "expected"), [("all", 2), ("none", 0)])
def test_which_models_are_logged(configure, tmp_path, log_model, expected):
    config = configure("backbone=scratch_cnn", f"tracking.log_model={log_model}", "train.epochs=1", "finetune.epochs=1")
    run_stages(config, tmp_path / "job")
    client = mlflow.MlflowClient(config.tracking.uri)
    assert len(client.search_logged_models(["1"])) == expected


def test_a_store_that_goes_away_does_not_end_a_training_and_no_epoch_is_lost_or_doubled(
    configure, tmp_path, monkeypatch
):
    config = configure("backbone=scratch_cnn", "train.epochs=3")
    log_batch, calls = mlflow.MlflowClient.log_batch, []

    def away_in_the_second_epoch(self, run_id, metrics=(), **rest):
        calls.extend(metric.step for metric in metrics if metric.key == "training/loss")
        if calls.count(2) == 1 and metrics and metrics[0].step == 2:
            raise MlflowException("away")
        return log_batch(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", away_in_the_second_epoch)
    run_stages(config, tmp_path / "job", "train")
    run_id = read_json(tmp_path / "job" / "train" / "run.json")["run_id"]
    assert sorted(steps(config, run_id, "training/loss")) == [1, 2, 3]


@pytest.mark.parametrize("error", [MlflowException("away"), requests.HTTPError("502 Bad Gateway")])
def test_what_could_not_be_logged_is_not_taken_for_done_and_not_computed_again(configure, tmp_path, monkeypatch, error):
    config = configure("backbone=scratch_cnn", "tracking.wait_seconds=0")

    def away(*_):
        raise error

    with monkeypatch.context() as while_away:
        while_away.setattr("pipeline.tracking.stage_log.StageLog.log", away)
        with pytest.raises(PipelineError, match=r"outputs are complete in .*server is unreachable.*pipeline\.sync"):
            run_stages(config, tmp_path / "job", "prepare")
    manifest = tmp_path / "job" / "prepare" / "manifest.parquet"
    computed = manifest.stat().st_ino
    assert folders(tmp_path / "job") == ["prepare"]
    experiment = run_stages(config, tmp_path / "job", "prepare")
    assert is_done("prepare", experiment)
    assert manifest.stat().st_ino == computed
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert computed_by(run.data.tags)["prepare"] == run.info.run_id
