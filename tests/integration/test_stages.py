"""The real stages on made images: their files, their figures, and what they leave in MLflow."""

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from mlflow.exceptions import MlflowException

from pipeline.data.sources import image_folder
from pipeline.deployment.classifier import load
from pipeline.deployment.find_model import ModelReference
from pipeline.evaluation.calibration import at_temperature
from pipeline.evaluation.metrics import summarise
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import class_indices, read_manifest
from pipeline.jobs.identity import experiment_key
from pipeline.jobs.pipeline import STAGES, run_through
from pipeline.jobs.stage import execute, is_done
from pipeline.models.freezing import all_layers
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning
from pipeline.models.saving import load_classifier
from pipeline.stages import evaluate
from pipeline.storage.cache import Cache
from pipeline.storage.files import read_json
from pipeline.system.errors import DivergedError, PipelineError
from pipeline.system.paths import CODE
from pipeline.training.data import training_data
from tests.conftest import write_images

FILES = {
    "prepare": {
        "manifest.parquet", "classes.json", "quarantine.csv", "duplicates.csv", "duplicates.html", "metrics.json", "samples.png", "splits.png", "run.json",
    },
    "train": {"model.keras", "history.csv", "rates.csv", "metrics.json", "curves.png", "augmentation.png", "label_issues.csv", "label_issues.html", "run.json"},
    "finetune": {"model.keras", "history.csv", "rates.csv", "metrics.json", "curves.png", "augmentation.png", "run.json"},
    "evaluate": {
        "metrics.json",
        "predictions.parquet",
        "per_class.csv",
        "confusion.csv",
        "reliability.csv",
        "corruptions.csv",
        "calibration.json",
        "speed.json",
        "summary.md",
        "report.html",
        "plots",
        "run.json",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, images):
    """One run of the whole pipeline: its configuration and its folder."""
    from pipeline.config.compose import composed
    from pipeline.config.validate import check

    folder = tmp_path_factory.mktemp("experiment")
    config = check(
        composed(
            [
                "dataset=folder", f"dataset.path={images}", "image_size=32", "train.epochs=8", "train.learning_rate=0.02", "finetune.epochs=3", "augment=light",
                f"tracking.uri=sqlite:///{folder}/mlflow.db", f"cache_folder={folder}/cache", "tracking.system_metrics_interval=0.5",
                "hardware.intra_op_threads=2", "hardware.inter_op_threads=2",
            ]
        )
    )  # fmt: skip
    run_through(None, config, folder / "job", sweep=False)
    return SimpleNamespace(config=config, folder=folder / "job", client=mlflow.MlflowClient(config.tracking.uri))


def test_each_stage_leaves_exactly_its_files(experiment):
    for stage, files in FILES.items():
        assert {file.name for file in (experiment.folder / stage).iterdir()} == files
    assert {item.name for item in experiment.folder.iterdir()} == set(FILES)
    plots = ["training", "confusion", "per_class", "roc", "precision_recall", "reliability", "mistakes", "hits"]
    assert {file.name for file in (experiment.folder / "evaluate" / "plots").iterdir()} == {
        f"{name}.png" for name in plots
    }


def test_dvc_declares_exactly_these_files():
    stages = yaml.safe_load((CODE / "dvc.yaml").read_text())["stages"]
    for stage, files in FILES.items():
        declared = stages[stage]["outs"] + stages[stage]["metrics"]
        assert set(declared) == {f"outputs/{stage}/{file}" for file in files}


def test_the_manifest(experiment):
    manifest = read_manifest(experiment.folder / "prepare")
    assert list(manifest.rows) == [
        "path",
        "label",
        "split",
        "sha256",
        "width",
        "height",
        "format",
        "orientation",
        "group",
        "brightness",
        "contrast",
        "saturation",
    ]
    assert manifest.classes == ["blue", "green", "red"]
    assert manifest.rows["path"].is_monotonic_increasing
    assert manifest.rows["split"].value_counts().to_dict() == {"train": 40, "test": 12, "validation": 8}
    assert (manifest.rows[["width", "height"]] == 40).all(axis=None)


def test_it_learns_and_the_classes_travel_with_the_model(experiment):
    metrics = read_json(experiment.folder / "evaluate" / "metrics.json")
    assert set(metrics) == {"best", "train", "finetune", "comparison", "saved_model"}
    assert metrics["saved_model"]["same_class"] == 1
    bounded = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "auc", "brier")
    names = {f"{name}{end}" for name in bounded for end in ("", "_low", "_high")}
    assert (
        set(metrics["train"])
        == set(metrics["finetune"])
        == names | {"ece", "ece_by_chance", "images", "calibration", "prior_adjusted_accuracy"}
    )
    assert metrics[metrics["best"]]["accuracy"] == 1
    assert load_classifier(experiment.folder / "train" / "model.keras")[1] == ["blue", "green", "red"]


@pytest.mark.parametrize("phase", ["train", "finetune"])
def test_evaluation_agrees_with_training_on_the_validation_pictures(experiment, phase):
    config, manifest = experiment.config, read_manifest(experiment.folder / "prepare")
    model, _ = load_classifier(experiment.folder / phase / "model.keras")
    cache, precision = Cache(Path(config.cache_folder)), config.hardware.precision
    data = training_data(manifest, config, cache)
    if phase == "train":
        parts = parts_for_feature_extraction(model, config.backbone, precision)
    else:
        depth = read_json(experiment.folder / phase / "metrics.json")["unfreeze"]
        parts = parts_for_finetuning(model, config.backbone, replace(config.finetune, unfreeze=depth), precision)
    [probabilities] = evaluate.predict(parts, data.images, data.validation, config, cache)
    labels = class_indices(manifest.split("validation"), manifest.classes)
    found = summarise(labels, probabilities, config.evaluate, config.seed)
    reported = read_json(experiment.folder / phase / "metrics.json")
    assert found["accuracy"] == pytest.approx(reported["val_accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(reported["val_loss"], rel=1e-3, abs=1e-5)
    history = pd.read_csv(experiment.folder / phase / "history.csv").set_index("epoch")
    epochs_own = history.loc[reported["kept_epoch"], "val_accuracy"]
    if reported.get("kept_share", 1) == 1:
        assert reported["val_accuracy"] == epochs_own
    else:
        # Drawn back towards the weights that the phase began with, because that is better.
        assert reported["val_accuracy"] >= epochs_own


def test_predictions_are_in_manifest_order_with_probabilities_in_class_order(experiment):
    predictions = pd.read_parquet(experiment.folder / "evaluate" / "predictions.parquet")
    manifest = read_manifest(experiment.folder / "prepare")
    assert predictions["path"].tolist() == manifest.split("test")["path"].tolist()
    assert predictions["label"].tolist() == manifest.split("test")["label"].tolist()
    probabilities = np.stack(predictions["probabilities"])
    assert probabilities.shape == (12, 3)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [manifest.classes[index] for index in probabilities.argmax(axis=1)] == predictions["prediction"].tolist()
    metrics = read_json(experiment.folder / "evaluate" / "metrics.json")
    assert (predictions["prediction"] == predictions["label"]).mean() == metrics[metrics["best"]]["accuracy"]


def test_the_report_is_one_file_that_loads_nothing_and_says_what_was_found(experiment):
    page = (experiment.folder / "evaluate" / "report.html").read_text()
    links = re.findall(r"(?:src|href)=[\"']([^\"']*)", page)
    assert all(link.startswith(("data:", "#")) for link in links), links
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "<script" not in page
    metrics = read_json(experiment.folder / "evaluate" / "metrics.json")
    assert f"{metrics[metrics['best']]['accuracy']:.4f}" in page
    assert "McNemar" in page
    assert page.count('class="chart"') == 6
    hits = [
        path for path in pd.read_parquet(experiment.folder / "evaluate" / "predictions.parquet")["path"] if path in page
    ]
    assert len(hits) == min(12, experiment.config.evaluate.gallery)


def test_a_calibrated_experiment_has_the_temperature_in_its_model_and_its_figures(experiment, tmp_path):
    """And damage is measured where it is asked for."""
    config = replace(
        experiment.config,
        evaluate=replace(experiment.config.evaluate, calibrate=True, corruptions="all", corruption_images=4),
    )
    shutil.copytree(experiment.folder, tmp_path / "job")
    execute("evaluate", config, tmp_path / "job", experiment_key(config))
    out = tmp_path / "job" / "evaluate"
    metrics, calibration = read_json(out / "metrics.json"), read_json(out / "calibration.json")
    best = metrics["best"]
    figures = metrics[best]
    assert calibration["applied"] is True
    assert calibration[best] == figures["calibration"]["temperature"] != 1
    assert figures["loss"] == pytest.approx(figures["calibration"]["loss_after"])
    before = read_json(experiment.folder / "evaluate" / "metrics.json")[best]
    assert before["loss"] == pytest.approx(figures["calibration"]["loss_before"])
    assert before["accuracy"] == figures["accuracy"]

    test = read_manifest(out.parent / "prepare").split("test")
    images = list(decoded(config, test).take(np.arange(len(test))))
    mlflow.set_tracking_uri(config.tracking.uri)
    logged = mlflow.pyfunc.load_model(f"runs:/{read_json(out / 'run.json')['run_id']}/model")
    predicted = np.stack(pd.read_parquet(out / "predictions.parquet")["probabilities"])
    # Predictions of the stage are in the arithmetic of this device, the model's in float32.
    np.testing.assert_allclose(told(logged, images), predicted, atol=0.05)
    damage = pd.read_csv(out / "corruptions.csv")
    assert len(damage) == 55
    assert set(damage["images"]) == {4}
    assert metrics["corrupted"]["mean"] == pytest.approx(damage["accuracy"].mean())
    assert (out / "plots" / "corruptions.png").exists()
    assert "Under damage" in (out / "report.html").read_text()


def test_test_time_augmentation_is_evaluated_calibrated_and_charged_alike(experiment, tmp_path):
    config = replace(experiment.config, evaluate=replace(experiment.config.evaluate, tta="flip"))
    shutil.copytree(experiment.folder, tmp_path / "job")
    out = tmp_path / "evaluate"
    out.mkdir()
    evaluate.run(config, tmp_path / "job", out, None)
    found, calibration = pd.read_parquet(out / "predictions.parquet"), read_json(out / "calibration.json")
    plain = pd.read_parquet(experiment.folder / "evaluate" / "predictions.parquet")
    best = read_json(out / "metrics.json")["best"]
    assert calibration["tta"]["kind"] == "flip"
    assert calibration["tta"][best] == read_json(out / "metrics.json")[best]["calibration"]["temperature"]
    assert calibration[best] == pytest.approx(
        read_json(experiment.folder / "evaluate" / "calibration.json")[best], rel=1e-4
    )
    assert read_json(out / "speed.json")["passes"] == 2
    # As a classifier that is asked later does it.
    model = experiment.folder / best / "model.keras"
    asked = load(
        ModelReference(model, "test", temperature=calibration[best], tta=calibration["tta"] | {"temperature": 2.0}),
        "flip",
    )
    test = read_manifest(experiment.folder / "prepare").split("test")
    probabilities = asked.probabilities(decoded(config, test).take(np.arange(len(test))))
    np.testing.assert_allclose(probabilities, np.stack(found["probabilities"]), atol=0.05)
    assert not np.array_equal(np.stack(found["probabilities"]), np.stack(plain["probabilities"]))
    np.testing.assert_allclose(asked.calibrated(probabilities), at_temperature(probabilities, 2.0), atol=1e-6)
    other = load(ModelReference(model, "test", temperature=2.0), "crops")
    assert other.calibrated(probabilities) is None


def test_a_diverged_experiment_is_marked_so(configure, tmp_path):
    config = configure("backbone=scratch_cnn", "train.learning_rate=1e30", "train.epochs=5", "train.label_issues=false")
    with pytest.raises(DivergedError):
        run_through(None, config, tmp_path / "job", sweep=False)
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert run.info.status == "FAILED"
    assert "lower the learning rate" in run.data.tags["diverged"]


def test_epochs_go_on_from_one_phase_to_the_next(experiment):
    train, finetune = (pd.read_csv(experiment.folder / phase / "history.csv") for phase in ("train", "finetune"))
    assert train["epoch"].tolist() == list(range(1, 9))
    assert finetune["epoch"].tolist() == [9, 10, 11]
    assert list(train) == ["epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"]


def test_twice_from_scratch_is_the_same_to_the_last_digit(experiment, tmp_path):
    again = replace(experiment.config, cache_folder=f"{tmp_path}/empty")
    run_through(None, again, tmp_path / "again", sweep=False)
    for file in ("train/history.csv", "finetune/history.csv", *(f"{stage}/metrics.json" for stage in STAGES)):
        assert (tmp_path / "again" / file).read_text() == (experiment.folder / file).read_text()
    first, second = (
        pd.read_parquet(folder / "evaluate" / "predictions.parquet")
        for folder in (experiment.folder, tmp_path / "again")
    )
    assert np.array_equal(np.stack(first["probabilities"]), np.stack(second["probabilities"]))


def decoded(config, rows):
    """Decoded as evaluate does."""
    return DecodedImages(
        image_folder(config.dataset), rows, config.image_size, Cache(Path(config.cache_folder)), 1.0, ""
    )


class _Forbidden:
    def __getattr__(self, name):
        raise AssertionError(f"a section that dvc.yaml does not name was read ({name})")


@pytest.mark.parametrize("stage", ["prepare", "train", "finetune"])
def test_a_stage_reads_only_the_sections_that_dvc_watches(experiment, stage, tmp_path):
    declared = yaml.safe_load((CODE / "dvc.yaml").read_text())["stages"][stage]["params"][0]["resolved.yaml"]
    # Where the cache lies changes no result.
    sections = {key.split(".")[0] for key in declared} - {"tracking"} | {"cache_folder"}
    given = {
        name: getattr(experiment.config, name) if name in sections else _Forbidden() for name in vars(experiment.config)
    }
    if "dataset" in sections:
        keys = [key.removeprefix("dataset.") for key in declared if key.startswith("dataset.")]
        given["dataset"] = SimpleNamespace(**{key: getattr(experiment.config.dataset, key) for key in keys})
    for name in STAGES[: STAGES.index(stage)]:
        shutil.copytree(experiment.folder / name, tmp_path / name)
    (tmp_path / stage).mkdir()
    import_module(f"pipeline.{stage}").run(SimpleNamespace(**given), tmp_path, tmp_path / stage, lambda row: None)


def test_one_run_holds_the_whole_experiment(experiment):
    client = experiment.client
    [run] = [
        run
        for run in client.search_runs(["1"])
        if run.info.run_id == read_json(experiment.folder / "train" / "run.json")["run_id"]
    ]
    assert run.info.status == "FINISHED"
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    assert tags["role"] == "experiment"
    assert tags["complete"] == "true"
    assert {tags[f"{stage}.computed_by"] for stage in STAGES} == {run.info.run_id}
    assert set(tags) >= {
        "experiment_key",
        "git_commit",
        "git_dirty",
        "lock_sha256",
        "devices",
        "tensorflow",
        "intra_op_threads",
        "train.precision",
        "finetune.precision",
    }
    assert params["finetune.learning_rate"] == "0.0003"
    assert params["backbone.name"] == "efficientnet_lite0"
    assert not any(value in ("", "None") for value in params.values())
    reported = read_json(experiment.folder / "evaluate" / "metrics.json")
    for name in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "loss"):
        assert metrics[f"test/{name}"] == reported[reported["best"]][name]
        assert metrics[f"test/train/{name}"] == reported["train"][name]
    assert metrics["test/comparison/mcnemar_p"] == reported["comparison"]["mcnemar_p"]
    assert (
        metrics["model/trainable_parameters"]
        == read_json(experiment.folder / reported["best"] / "metrics.json")["trainable_parameters"]
    )
    assert all(metrics[f"model/{name}"] > 0 for name in ("size_mib", "prediction_milliseconds", "training_seconds"))
    assert len(tags["test_data"]) == len(tags["training_data"]) == 64
    assert "| accuracy |" in tags["mlflow.note.content"]
    assert f"runs/{run.info.run_id}/artifacts/evaluate/report.html" in tags["mlflow.note.content"]
    for name in ("training/loss", "validation/accuracy", "learning_rate"):
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == list(range(1, 12))
    assert any(name.startswith("system/") for name in metrics)
    prepared = read_json(experiment.folder / "prepare" / "metrics.json")
    assert metrics["prepare/drift/test/total_variation"] == prepared["drift"]["test"]["total_variation"]
    assert metrics["prepare/formats/PNG"] == metrics["prepare/images"] == 60
    [used] = run.inputs.dataset_inputs
    assert used.dataset.name == "folder"
    kept = {item.path for stage in STAGES for item in client.list_artifacts(run.info.run_id, stage)}
    assert {
        "prepare/samples.png",
        "prepare/splits.png",
        "prepare/duplicates.html",
        "train/label_issues.csv",
        "train/curves.png",
        "finetune/curves.png",
        "evaluate/plots",
        "evaluate/report.html",
        "evaluate/predictions.parquet",
        "train/history.csv",
    } <= kept
    assert not any(path.endswith(".keras") for path in kept)


def told(logged, images):
    """Probabilities float64 [n, classes] that a logged model gives."""
    rows = logged.predict(pd.DataFrame({"image": images}))["probabilities"]
    return np.array([list(row.values()) for row in rows])


def test_the_logged_model_answers_like_the_saved_one(experiment):
    run_id = read_json(experiment.folder / "evaluate" / "run.json")["run_id"]
    mlflow.set_tracking_uri(experiment.config.tracking.uri)
    best = read_json(experiment.folder / "finetune" / "metrics.json")["best"]
    saved, classes = load_classifier(experiment.folder / best / "model.keras")
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    logged = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    # It computes in the folded form, which is exact but for rounding.
    np.testing.assert_allclose(told(logged, list(images)), saved.predict(images, verbose=0), atol=1e-5)
    assert logged.metadata.metadata["classes"] == classes
    assert logged.metadata.metadata["calibration"]["applied"] is False
    requirements = mlflow.pyfunc.get_model_dependencies(f"runs:/{run_id}/model")
    assert "tensorflow==2." in Path(requirements).read_text()
    assert len(experiment.client.search_logged_models(["1"], filter_string=f"source_run_id='{run_id}'")) == 1


def test_a_forced_repeat_is_a_new_run_and_fills_in_what_another_one_computed(experiment, tmp_path):
    shutil.copytree(experiment.folder, tmp_path / "job")
    first = read_json(tmp_path / "job" / "train" / "run.json")["run_id"]
    execute("evaluate", experiment.config, tmp_path / "job", experiment_key(experiment.config))
    second = read_json(tmp_path / "job" / "evaluate" / "run.json")["run_id"]
    assert second != first
    run = experiment.client.get_run(second)
    assert run.data.tags["train.computed_by"] == first
    assert run.data.tags["evaluate.computed_by"] == second
    assert [point.step for point in experiment.client.get_metric_history(second, "validation/loss")] == list(
        range(1, 12)
    )
    took = read_json(tmp_path / "job" / "train" / "run.json")["seconds"]
    assert run.data.metrics["seconds/train"] == took > 0
    assert run.data.metrics["seconds/evaluate"] > 0


def test_a_stage_that_fails_leaves_its_folder_as_it_was_and_a_failed_run(configure, tmp_path):
    config = configure("finetune.unfreeze=nonsense", "backbone=scratch_cnn", "train.epochs=1")
    with pytest.raises(PipelineError, match="nonsense"):
        run_through(None, config, tmp_path / "job", sweep=False)
    assert sorted(item.name for item in (tmp_path / "job").iterdir()) == ["prepare", "train"]
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert run.info.status == "FAILED"
    assert "complete" not in run.data.tags


def test_an_interrupted_run_is_marked_as_killed(configure, tmp_path, monkeypatch):
    config = configure("backbone=scratch_cnn")
    monkeypatch.setattr("pipeline.train.fit_phase", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_through("train", config, tmp_path / "job", sweep=False)
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert run.info.status == "KILLED"
    assert [item.name for item in (tmp_path / "job").iterdir()] == ["prepare"]


def test_a_stage_without_its_inputs_says_what_to_run(configure, tmp_path):
    with pytest.raises(PipelineError, match=r"train needs what prepare writes.*dvc repro"):
        execute("train", configure(), tmp_path / "job", "key")


@pytest.mark.parametrize(("log_model", "expected"), [("all", 2), ("none", 0)])
def test_which_models_are_logged(configure, tmp_path, log_model, expected):
    config = configure("backbone=scratch_cnn", f"tracking.log_model={log_model}", "train.epochs=1", "finetune.epochs=1")
    run_through(None, config, tmp_path / "job", sweep=False)
    client = mlflow.MlflowClient(config.tracking.uri)
    assert len(client.search_logged_models(["1"])) == expected


def test_unreadable_pictures_are_quarantined_and_counted(configure, tmp_path):
    folder = write_images(tmp_path / "images", per_class=8)
    (folder / "red" / "empty.png").touch()
    (folder / "red" / "text.jpg").write_text("no image")
    (folder / "red" / "cut.png").write_bytes((folder / "red" / "000.png").read_bytes()[:900])
    (folder / "red" / "notes.txt").write_text("hello")
    config = configure(f"dataset.path={folder}")
    run_through("prepare", config, tmp_path / "job", sweep=False)
    quarantine = pd.read_csv(tmp_path / "job" / "prepare" / "quarantine.csv", keep_default_na=False)
    assert quarantine["path"].tolist() == ["red/cut.png", "red/empty.png", "red/text.jpg"]
    assert quarantine["reason"].str.contains("damaged|empty file|not an image").all()
    assert (quarantine["sha256"].str.len() == 64).all()
    metrics = json.loads((tmp_path / "job" / "prepare" / "metrics.json").read_text())
    assert (metrics["images"], metrics["quarantined"], metrics["left_out"]) == (24, 3, 1)


def test_pictures_that_nobody_can_read_are_no_class(configure, tmp_path):
    folder = write_images(tmp_path / "images", per_class=8)
    for file in (folder / "red").iterdir():
        file.write_bytes(b"")
    with pytest.raises(PipelineError, match="'red' has 0"):
        run_through("prepare", configure(f"dataset.path={folder}"), tmp_path / "job", sweep=False)


def test_other_precisions_train_and_leave_a_float32_model(configure, tmp_path):
    precision = "mixed_float16"
    config = configure(
        f"hardware.precision={precision}", "train.epochs=1", "finetune.epochs=1", "tracking.log_model=none"
    )
    run_through(None, config, tmp_path / "job", sweep=False)
    model, _ = load_classifier(tmp_path / "job" / "finetune" / "model.keras")
    assert {layer.dtype_policy.name for layer in all_layers(model)} == {"float32"}
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert run.data.tags["train.precision"] == f"frozen {precision.removeprefix('mixed_')}, head float32"
    assert run.data.tags["finetune.precision"].endswith(f"trainable {precision}, head float32")


def test_a_folder_of_another_experiment_is_not_taken_for_this_one(experiment, tmp_path, caplog):
    shutil.copytree(experiment.folder, tmp_path / "job")
    experiment.config.seed += 1
    try:
        run_through("train", experiment.config, tmp_path / "job", sweep=True)
    finally:
        experiment.config.seed -= 1
    assert sorted(item.name for item in (tmp_path / "job").iterdir()) == ["prepare", "train"]


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
    run_through("train", config, tmp_path / "job", sweep=False)
    run_id = read_json(tmp_path / "job" / "train" / "run.json")["run_id"]
    history = mlflow.MlflowClient(config.tracking.uri).get_metric_history(run_id, "training/loss")
    assert sorted(point.step for point in history) == [1, 2, 3]


@pytest.mark.parametrize("error", [MlflowException("away"), requests.HTTPError("502 Bad Gateway")])
def test_what_could_not_be_logged_is_not_taken_for_done_and_not_computed_again(configure, tmp_path, monkeypatch, error):
    config = configure("backbone=scratch_cnn", "tracking.wait_seconds=0")

    def away(*_):
        raise error

    with monkeypatch.context() as while_away:
        while_away.setattr("pipeline.tracking.stage_log.StageLog.log", away)
        with pytest.raises(
            PipelineError, match=r"computed and lies whole in .* the tracking store is away.*pipeline.sync"
        ):
            run_through("prepare", config, tmp_path / "job", sweep=False)
    computed = (tmp_path / "job" / "prepare" / "manifest.parquet").stat().st_ino
    key = experiment_key(config)
    assert not is_done(tmp_path / "job" / "prepare", key)
    run_through("prepare", config, tmp_path / "job", sweep=False)
    assert is_done(tmp_path / "job" / "prepare", key)
    assert (tmp_path / "job" / "prepare" / "manifest.parquet").stat().st_ino == computed
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert run.data.tags["prepare.computed_by"] == run.info.run_id


def test_a_model_cut_in_half_is_made_again(configure, tmp_path, caplog):
    config = configure("backbone=scratch_cnn", "train.epochs=1", "finetune.epochs=1")
    run_through("train", config, tmp_path / "job", sweep=True)
    model = tmp_path / "job" / "train" / "model.keras"
    whole, prepared = model.stat().st_size, (tmp_path / "job" / "prepare" / "run.json").stat().st_ino
    model.write_bytes(model.read_bytes()[: whole // 2])
    run_through("finetune", config, tmp_path / "job", sweep=True)
    assert model.stat().st_size == whole
    assert "is not as it was written (model.keras): this stage runs again" in caplog.text
    assert (tmp_path / "job" / "prepare" / "run.json").stat().st_ino == prepared


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(configure, tmp_path, monkeypatch):
    config = configure("backbone=scratch_cnn")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as while_full:
        while_full.setattr("pipeline.train.save_classifier", full)
        with pytest.raises(PipelineError, match=r"train: .*No space left.*the same command goes on"):
            run_through("train", config, tmp_path / "job", sweep=False)
    assert [item.name for item in (tmp_path / "job").iterdir()] == ["prepare"]
    run_through("train", config, tmp_path / "job", sweep=False)
    assert is_done(tmp_path / "job" / "train", experiment_key(config))
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    history = mlflow.MlflowClient(config.tracking.uri).get_metric_history(run.info.run_id, "training/loss")
    assert sorted(point.step for point in history) == [1, 2]


def test_class_names_that_tables_use_themselves(configure, tmp_path):
    folder = write_images(tmp_path / "images", per_class=10, classes=("true", "phase", "a, b $x$"))
    run_through(None, configure(f"dataset.path={folder}", "backbone=scratch_cnn"), tmp_path / "job", sweep=False)
    table = pd.read_csv(tmp_path / "job" / "evaluate" / "confusion.csv")
    assert list(table) == ["phase", "true", "predicted", "count"]
    assert set(table["true"]) == {"true", "phase", "a, b $x$"}


def test_a_name_that_is_not_utf8_is_quarantined(configure, tmp_path):
    folder = write_images(tmp_path / "images", per_class=8)
    (folder / "red" / "000.png").rename(folder / "red" / os.fsdecode(b"\xff.png"))
    run_through("prepare", configure(f"dataset.path={folder}"), tmp_path / "job", sweep=False)
    assert "name is not UTF-8" in (tmp_path / "job" / "prepare" / "quarantine.csv").read_text()


def test_a_given_split_that_nobody_can_read_is_an_error(configure, tmp_path):
    write_images(tmp_path / "images" / "train", per_class=8)
    for name in ("blue", "red"):
        (tmp_path / "images" / "test" / name).mkdir(parents=True)
        (tmp_path / "images" / "test" / name / "a.png").write_bytes(b"x")
    with pytest.raises(PipelineError, match="No image of the given test split can be read"):
        run_through("prepare", configure(f"dataset.path={tmp_path / 'images'}"), tmp_path / "job", sweep=False)
