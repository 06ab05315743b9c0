"""`python -m pipeline.probe`: from images to a recommended backbone in params.yaml."""

import shutil

import mlflow
import pandas as pd
import pytest

from pipeline import probe
from pipeline.config import compose as composition
from pipeline.models.backbones import build_backbone
from pipeline.system.paths import CODE
from tests.support.backbones import small
from tests.support.images import small_arguments
from tests.support.in_process import call


def test_a_file_of_weights_is_probed_and_logged(command, images, tmp_path):
    config = small("mobilenet_v3_small")
    file = tmp_path / "mine.weights.h5"
    build_backbone(config.backbone, config.image_size).save_weights(file)
    own = [f"cache_folder={tmp_path}/cache", "backbone=mobilenet_v3_small", f"backbone.weights={file}"]
    ran = command("pipeline.probe", *small_arguments(images), "--backbones", "mobilenet_v3_small", *own)
    assert ran.returncode == 0, ran.stderr
    assert "Recommended: mobilenet_v3_small. It is the only one." in ran.stdout
    table = pd.read_csv(tmp_path / "runs" / "probe.csv")
    assert table["image_size"].tolist() == [32]
    [manifest] = (tmp_path / "runs").glob("*/prepare/manifest.parquet")
    count = (pd.read_parquet(manifest)["split"] != "test").sum()
    assert f"on the same {count} training and validation images" in (tmp_path / "runs" / "probe.html").read_text()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [run] = client.search_runs(["1"], "tags.role = 'probe'")
    assert run.info.run_name == "probe colours"
    assert run.data.metrics["probe/mobilenet_v3_small/accuracy"] == pytest.approx(table.loc[0, "accuracy"])
    assert {file.path for file in client.list_artifacts(run.info.run_id, "probe")} == {"probe/probe.csv", "probe/probe.html"}  # fmt: skip


@pytest.mark.slow
def test_the_recommended_of_several_is_taken(images, tmp_path, monkeypatch, empty_store, capfd):
    monkeypatch.chdir(tmp_path)
    shipped = (CODE / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(shipped)
    monkeypatch.setattr(composition, "PARAMS", tmp_path / "params.yaml")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    own = [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"cache_folder={tmp_path}/cache"]
    # As in the other tests of this process.
    own += ["hardware.intra_op_threads=2", "hardware.inter_op_threads=2"]
    lite = [f"efficientnet_lite{number}" for number in range(3)]
    assert call(probe.main, *small_arguments(images), *own, "--take", "--backbones", *lite) is None
    table = pd.read_csv(tmp_path / "runs" / "probe.csv")
    assert sorted(table["backbone"]) == lite
    # Colours are found by all of them, though the images are far smaller than those of pretraining.
    assert table["accuracy"].min() > 0.8
    assert table["accuracy"].max() > 0.95
    # MiB of float32 without the classifier.
    weights = dict(zip(table["backbone"], table["weights_mib"], strict=True))
    assert weights[lite[0]] == pytest.approx(13.0, abs=0.2)
    [recommended] = table.loc[table["recommended"], "backbone"]
    assert table.sort_values("multiply_adds")["backbone"].tolist() == lite
    after = (tmp_path / "params.yaml").read_text()
    assert after == shipped.replace("backbone:\n  name:\n", f"backbone:\n  name: {recommended}\n")
    assert f"params.yaml now has backbone {recommended}" in capfd.readouterr().err


def test_an_unknown_backbone_is_an_error_before_any_work(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "did you mean vgg16?" in call(probe.main, *small_arguments(images), "--backbones", "vg16")
    assert not list(tmp_path.iterdir())
