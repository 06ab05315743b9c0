"""The real stages on made images: their files and their figures."""

import html
import re
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlencode, urlsplit

import numpy as np
import pandas as pd
import pytest

from pipeline.config import PHASES
from pipeline.config.image import Decoding
from pipeline.deployment.classifier import load
from pipeline.evaluation.phase_result import predict
from pipeline.evaluation.tables import summarise
from pipeline.inputs.decoding import pixels
from pipeline.inputs.manifest import class_indices, read_manifest
from pipeline.jobs.stage import places_of
from pipeline.models.freezing import all_layers
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning
from pipeline.models.saving import load_classifier
from pipeline.stages import STAGES
from pipeline.storage.cache import Cache
from pipeline.storage.files import files_below, read_json
from pipeline.tracking.classifier_files import Calibration, ModelReference
from pipeline.training.features import training_data
from pipeline.training.temperature import at_temperature
from tests.support.experiments import declared_outputs, folders, recomputed, run_stages, with_overrides

FILES = {
    "prepare": {"manifest.parquet", "classes.json", "quarantine.csv", "duplicates.csv", "metrics.json", "run.json"},
    "train": {
        "model.keras", "history.csv", "rates.csv", "metrics.json", "augmentation.npz", "label_issues.csv", "run.json",
    },
    "finetune": {"model.keras", "history.csv", "rates.csv", "metrics.json", "augmentation.npz", "run.json"},
    "evaluate": {
        "metrics.json", "headline.json", "predictions.parquet", "per_class.csv", "confusion.csv", "predicted_classes.csv", "reliability.csv",
        "curves.csv", "corruptions.csv", "gallery.csv", "gallery.npz", "neighbours.csv", "vectors.npz", "calibration.json", "speed.json", "run.json",
    },
    "report": {"report.html", "summary.md", "duplicates.html", "label_issues.html", "data.html", "run.json"},
}  # fmt: skip


def decode(folder: Path, rows: pd.DataFrame) -> np.ndarray:
    return np.stack([pixels((folder / path).read_bytes(), Decoding(32)) for path in rows["path"]])


def test_each_stage_leaves_exactly_its_files(experiment):
    assert folders(experiment.root) == sorted([*FILES, "index.html"])
    for stage, files in FILES.items():
        assert set(folders(experiment.root / stage)) == files


def test_dvc_declares_exactly_these_files():
    for stage, files in FILES.items():
        assert declared_outputs(stage) == {f"{stage}/{file}" for file in files}


def test_the_manifest(experiment):
    manifest = read_manifest(experiment.root / "prepare")
    assert list(manifest.rows) == [
        "path", "label", "split", "sha256", "width", "height", "format", "orientation", "group", "brightness", "contrast", "saturation",
    ]  # fmt: skip
    assert manifest.classes == ["blue", "green", "red"]
    assert manifest.rows["path"].is_monotonic_increasing
    assert manifest.rows["split"].value_counts().to_dict() == {"train": 40, "test": 12, "validation": 8}
    assert (manifest.rows[["width", "height"]] == 40).all(axis=None)


def test_it_learns_and_the_classes_travel_with_the_model(experiment):
    metrics = experiment.json("evaluate", "metrics.json")
    assert set(metrics) == {"best", "train", "finetune", "comparison", "saved_model"}
    assert metrics["saved_model"]["same_class"] == 1
    bounded = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "auc", "brier")
    names = {f"{name}{end}" for name in bounded for end in ("", "_low", "_high")}
    names |= {"ece", "ece_by_chance", "images", "calibration", "prior_adjusted_accuracy"}
    assert set(metrics["train"]) == set(metrics["finetune"]) == names
    assert metrics[metrics["best"]]["accuracy"] == 1
    assert load_classifier(experiment.root / "train" / "model.keras")[1] == ["blue", "green", "red"]


@pytest.mark.parametrize("phase", PHASES)
def test_evaluation_agrees_with_training_on_the_validation_images(experiment, phase):
    config, manifest = experiment.config, read_manifest(experiment.root / "prepare")
    model, _ = load_classifier(experiment.root / phase / "model.keras")
    reported, precision = experiment.json(phase, "metrics.json"), config.hardware.precision
    data = training_data(manifest, places_of(config).images, config, Cache(Path(config.cache_folder)))
    if phase == "train":
        parts = parts_for_feature_extraction(model, config.backbone, precision)
    else:
        frozen = config.finetune.freeze_batch_norm
        parts = parts_for_finetuning(model, reported["first_layer"], freeze_batch_norm=frozen, precision=precision)
    probabilities = predict(parts, data.features, data.validation_indices, tta="none", batch_size=64)[:, 0]
    labels = class_indices(manifest.split("validation"), manifest.classes)
    found = summarise(labels, probabilities, config.evaluate, config.seed)
    assert found["accuracy"] == pytest.approx(reported["val_accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(reported["val_loss"], rel=1e-3, abs=1e-5)
    history = pd.read_csv(experiment.root / phase / "history.csv").set_index("epoch")
    epochs_own = history.loc[reported["kept_epoch"], "val_accuracy"]
    if reported.get("kept_share", 1) == 1:
        assert reported["val_accuracy"] == epochs_own
    else:
        # Drawn back towards the weights that the phase began with, because that is better.
        assert reported["val_accuracy"] >= epochs_own


def test_predictions_are_in_manifest_order_with_probabilities_in_class_order(experiment):
    predictions = pd.read_parquet(experiment.root / "evaluate" / "predictions.parquet")
    manifest = read_manifest(experiment.root / "prepare")
    assert predictions["path"].tolist() == manifest.split("test")["path"].tolist()
    assert predictions["label"].tolist() == manifest.split("test")["label"].tolist()
    probabilities = np.stack(predictions["probabilities"])
    assert probabilities.shape == (12, 3)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [manifest.classes[index] for index in probabilities.argmax(axis=1)] == predictions["prediction"].tolist()
    metrics = experiment.json("evaluate", "metrics.json")
    assert (predictions["prediction"] == predictions["label"]).mean() == metrics[metrics["best"]]["accuracy"]


def test_dvcs_metrics_and_confusions_are_those_of_the_predictions(experiment):
    figures, metrics = experiment.json("evaluate", "headline.json"), experiment.json("evaluate", "metrics.json")
    predictions = pd.read_parquet(experiment.root / "evaluate" / "predictions.parquet")
    assert (
        figures["accuracy"]
        == metrics[metrics["best"]]["accuracy"]
        == figures[f"accuracy_phase{1 + PHASES.index(metrics['best'])}"]
    )
    assert figures["images"] == len(predictions)
    classes = pd.read_csv(experiment.root / "evaluate" / "predicted_classes.csv")
    assert classes["true"].tolist() == predictions["label"].tolist()
    assert classes[metrics["best"]].tolist() == predictions["prediction"].tolist()


def test_the_index_links_every_file_the_images_and_the_run(experiment, images):
    page = (experiment.root / "index.html").read_text()
    links = [urlsplit(html.unescape(link)) for link in re.findall(r'href="([^"]*)"', page)]
    [run] = [link for link in links if link.netloc]
    assert run.fragment.endswith(f"/runs/{experiment.run_id}")
    linked = {unquote(link.path) for link in links if not link.netloc}
    assert linked == {f"{stage}/{file}" for stage, files in FILES.items() for file in files}
    asked = {link.query for link in links if link.query}
    assert asked == {urlencode({"images": f"{images.as_uri()}/"})}
    assert not re.search(r'about"></td>', page), "a file without a description"
    assert f"{experiment.json('evaluate', 'headline.json')['accuracy']:.4f}" in page
    tags = experiment.client.get_run(experiment.run_id).data.tags
    assert tags["mlflow.runName"] in html.unescape(page)
    assert tags.get("git_commit", "")[:10] in page


def test_epochs_go_on_from_one_phase_to_the_next(experiment):
    train, finetune = (pd.read_csv(experiment.root / phase / "history.csv") for phase in PHASES)
    assert train["epoch"].tolist() == list(range(1, 9))
    assert finetune["epoch"].tolist() == [9, 10, 11]
    assert list(train) == ["epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"]


def test_from_scratch_and_elsewhere_every_file_is_the_same_to_the_last_byte(experiment, own_experiment, tmp_path):
    """So no result holds a date, an id or a path, and none depends on what a cache held."""
    shutil.copytree(experiment.config.dataset.path, tmp_path / "moved")
    dataset = replace(experiment.config.dataset, path=f"{tmp_path}/moved")
    again = replace(own_experiment.config, dataset=dataset, cache_folder=f"{tmp_path}/empty")
    assert run_stages(again, tmp_path / "again").key == experiment.key
    # When and where it was computed, and how fast.
    own = {"run.json", "speed.json", "index.html"}
    different = [
        file
        for file in (each.relative_to(experiment.root) for each in files_below(experiment.root))
        if file.name not in own and (experiment.root / file).read_bytes() != (tmp_path / "again" / file).read_bytes()
    ]
    assert different == []
    for stage in STAGES:
        one, two = (read_json(folder / stage / "run.json") for folder in (experiment.root, tmp_path / "again"))
        assert one["stage_key"] == two["stage_key"]
        assert one["environment"] == two["environment"]


@pytest.mark.parametrize(
    ("overrides", "reruns"),
    [
        # How results are kept and used: no figure depends on it.
        (["export.images=100", "register.margin=0.1", "find_lr.steps=20", "sweep.relaunches=7", "tracking.wait_seconds=1"], []),
        (["tracking.log_model=none"], ["report"]),
        (["finetune.epochs=2"], ["finetune", "evaluate", "report"]),
    ],
)  # fmt: skip
def test_of_a_finished_experiment_the_stages_run_again_that_a_setting_reaches(
    experiment, own_experiment, overrides, reruns
):
    run_stages(with_overrides(own_experiment.config, *overrides), own_experiment.root)
    assert recomputed(experiment, own_experiment.root) == reruns


def test_what_a_warm_cache_holds_of_other_settings_changes_no_figure(configure, tmp_path):
    short = ["augment=light", "train.epochs=1"]
    run_stages(configure(*short), tmp_path / "first", "train")
    others = [["image_size=40"], ["augment=strong", "augment.views=1", "seed=5"], ["hardware.precision=float32"]]
    for number, overrides in enumerate(others):
        warm, cold = tmp_path / f"{number} warm", tmp_path / f"{number} cold"
        config = configure(*short, *overrides)
        run_stages(config, warm, "train")
        run_stages(replace(config, cache_folder=f"{tmp_path}/empty {number}"), cold, "train")
        for file in ("model.keras", "history.csv", "metrics.json", "label_issues.csv"):
            assert (warm / "train" / file).read_bytes() == (cold / "train" / file).read_bytes(), (overrides, file)


def test_the_temperature_is_in_the_model_and_in_its_figures_unless_it_is_switched_off(experiment, own_experiment):
    """And robustness is measured where it is configured."""
    import mlflow

    config = with_overrides(
        own_experiment.config, "evaluate.calibrate=", "evaluate.corruptions=all", "evaluate.corruption_images=4"
    )
    root = own_experiment.root
    run_stages(config, root)
    assert recomputed(experiment, root) == ["evaluate", "report"]
    plain, calibrated = (read_json(each / "evaluate" / "metrics.json") for each in (root, experiment.root))
    best = plain["best"]
    for metrics, applied in ((plain, False), (calibrated, True)):
        figures = metrics[best]
        assert figures["loss"] == pytest.approx(figures["calibration"][f"loss_{'after' if applied else 'before'}"])
        assert figures["calibration"] == pytest.approx(plain[best]["calibration"])
        assert figures["accuracy"] == plain[best]["accuracy"]
    for each, applied in ((root, False), (experiment.root, True)):
        calibration = read_json(each / "evaluate" / "calibration.json")
        assert calibration["applied"] is applied
        assert calibration[best] == plain[best]["calibration"]["temperature"] != 1

    images = decode(Path(config.dataset.path), read_manifest(root / "prepare").split("test"))
    mlflow.set_tracking_uri(config.tracking.uri)
    for each in (root, experiment.root):
        run_id = read_json(each / "report" / "run.json")["run_id"]
        logged = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
        rows = logged.predict(pd.DataFrame({"image": list(images)}))["probabilities"]
        predicted = np.stack(pd.read_parquet(each / "evaluate" / "predictions.parquet")["probabilities"])
        # Predictions of the stage are in the arithmetic of this device, the model's in float32.
        np.testing.assert_allclose(np.array([list(row.values()) for row in rows]), predicted, atol=0.05)
    corruptions = pd.read_csv(root / "evaluate" / "corruptions.csv")
    assert len(corruptions) == 55
    assert set(corruptions["images"]) == {4}
    assert plain["corrupted"]["mean"] == pytest.approx(corruptions["accuracy"].mean())
    assert "gaussian noise" in (root / "report" / "report.html").read_text()


def test_test_time_augmentation_is_evaluated_calibrated_and_charged_alike(experiment, own_experiment):
    # Views are averaged before they are scaled, which a model with the temperature in its weights can't do.
    config = with_overrides(own_experiment.config, "evaluate.tta=flip", "evaluate.calibrate=")
    run_stages(config, own_experiment.root, "evaluate")
    out = own_experiment.root / "evaluate"
    found, calibration = pd.read_parquet(out / "predictions.parquet"), read_json(out / "calibration.json")
    plain = pd.read_parquet(experiment.root / "evaluate" / "predictions.parquet")
    best = read_json(out / "metrics.json")["best"]
    assert calibration["tta"]["kind"] == "flip"
    assert calibration["tta"][best] == read_json(out / "metrics.json")[best]["calibration"]["temperature"]
    assert calibration[best] == pytest.approx(experiment.json("evaluate", "calibration.json")[best], rel=1e-4)
    assert read_json(out / "speed.json")["passes"] == 2
    # A classifier that is used later computes the same.
    file, temperature = experiment.root / best / "model.keras", calibration[best]
    fitted = Calibration(temperature, tta=calibration["tta"] | {"temperature": 2.0})
    classifier = load(ModelReference(file, "test", fitted), "flip")
    images = decode(Path(config.dataset.path), read_manifest(experiment.root / "prepare").split("test"))
    probabilities = classifier.probabilities(images)
    np.testing.assert_allclose(probabilities, np.stack(found["probabilities"]), atol=0.05)
    assert not np.array_equal(np.stack(found["probabilities"]), np.stack(plain["probabilities"]))
    np.testing.assert_allclose(classifier.calibrated(probabilities), at_temperature(probabilities, 2.0), atol=1e-6)
    other = load(ModelReference(file, "test", Calibration(2.0)), "crops")
    assert other.calibrated(probabilities) is None


def test_other_precisions_train_and_leave_a_float32_model(configure, tmp_path):
    import mlflow

    precision = "mixed_float16"
    short = ["train.epochs=1", "finetune.epochs=1", "tracking.log_model=none"]
    config = configure(f"hardware.precision={precision}", *short)
    run_stages(config, tmp_path / "job")
    model, _ = load_classifier(tmp_path / "job" / "finetune" / "model.keras")
    assert {layer.dtype_policy.name for layer in all_layers(model)} == {"float32"}
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    assert run.data.tags["train.precision"] == f"frozen {precision.removeprefix('mixed_')}, head float32"
    assert run.data.tags["finetune.precision"].endswith(f"trainable {precision}, head float32")
