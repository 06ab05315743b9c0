"""Experiments that start from a local preset, of KerasHub or of Hugging Face, with the network off."""

import os
import re
import shutil
import subprocess
import sys

import keras
import mlflow
import numpy as np
import pytest

pytest.importorskip("keras_hub")

from pipeline.jobs.identity import experiment_key
from pipeline.jobs.networks import check_networks
from pipeline.jobs.stage import places_of
from pipeline.models.classifier import BACKBONE
from pipeline.models.saving import load_classifier
from pipeline.stages import find_lr
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE
from pipeline.tracking.initial_weights import weights_digest, weights_tags
from tests.support.experiments import run_stages
from tests.support.hub import SIZE, WIDTH, hugging_face_folder, preset_folder, small_network


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        # Nothing listens there.
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")


@pytest.fixture(scope="module", params=["keras_hub", pytest.param("hugging_face", marks=pytest.mark.slow)])
def folder(request, tmp_path_factory):
    """The folder of a small ViT."""
    place = tmp_path_factory.mktemp(request.param) / "small, vit"
    return hugging_face_folder(place) if request.param == "hugging_face" else preset_folder(small_network("vit"), place)


@pytest.fixture
def with_preset(configure):
    def make(folder, *overrides: str):
        own = [f"image_size={SIZE}", "backbone=hub", f"backbone.preset='{folder}'", "backbone.min_image_size=8"]
        return configure(*own, "backbone.pooling=token_average", "backbone.unfreeze=block2", *overrides)

    return make


def test_an_experiment_from_training_to_prediction(folder, with_preset, images, tmp_path):
    config = with_preset(folder, "finetune=light", "finetune.epochs=2", "evaluate.corruptions=none")
    check_networks([config])
    job = run_stages(config, tmp_path / "job")
    initial, trained, tuned = (
        keras.Model(model.inputs[0], model.outputs[0])
        for model in (
            load_classifier(job.root / stage / "model.keras")[0].get_layer(BACKBONE)
            for stage in ("train", "train", "finetune")
        )
    )
    below = initial.layers.index(initial.get_layer("block2_attention_norm"))
    for own, other in zip(trained.layers[:below], tuned.layers[:below], strict=True):
        assert all(np.array_equal(one, two) for one, two in zip(own.get_weights(), other.get_weights(), strict=True))
    assert not np.array_equal(trained.get_weights()[-3], tuned.get_weights()[-3])
    assert read_json(job.root / "evaluate" / "metrics.json")["best"] in ("train", "finetune")
    tags = weights_tags(config)
    assert (tags["weights"], tags["weights_sha256"]) == (str(folder), job.digests["weights"])
    # What a model has learnt is used without KerasHub.
    code = "import sys; sys.modules['keras_hub'] = None; from pipeline.predict import main; main()"
    model = job.root / "finetune" / "model.keras"
    found = subprocess.run(
        [sys.executable, "-c", code, str(model), str(images), "--out", str(tmp_path / "predictions.csv")],
        cwd=CODE, env=os.environ | {"PYTHONPATH": str(CODE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 61


def test_low_rank_updates_share_features_with_an_experiment_without_them(folder, with_preset, tmp_path):
    options = ["finetune=light", "finetune.epochs=1", "evaluate.corruptions=none", "find_lr.steps=10"]
    plain, config = with_preset(folder, *options), with_preset(folder, *options, "finetune.lora_rank=2")
    assert experiment_key(config) != experiment_key(plain)
    assert experiment_key(with_preset(folder, *options, "finetune.lora_rank=null")) == experiment_key(plain)
    check_networks([config])
    run_stages(plain, tmp_path / "plain", "finetune")
    root = run_stages(config, tmp_path / "updates").root
    states = [read_json(job / "finetune" / "run.json") for job in (tmp_path / "plain", root)]
    assert states[0]["cache"] == states[1]["cache"] != []
    assert [state["work"].get("lora_rank") for state in states] == [None, 2]
    # Updates of queries and values in two blocks, and the head.
    trained = 4 * 2 * (2 * WIDTH) + 2 * WIDTH * 3 + 3
    assert read_json(root / "finetune" / "metrics.json")["trainable_parameters"] == trained
    run = mlflow.MlflowClient(config.tracking.uri).get_run(read_json(root / "report" / "run.json")["run_id"])
    assert "finetune.lora_rank 2" in run.info.run_name
    assert run.data.params["finetune.lora_rank"] == "2"
    assert run.data.metrics["finetune/trainable_parameters"] == trained
    tested = find_lr.run(config, "finetune", places_of(config), root)
    assert tested["configured"] == config.finetune.learning_rate


def test_the_content_of_the_folder_is_part_of_the_experiment(folder, with_preset, tmp_path):
    config, copy = with_preset(folder), tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / ".cache").mkdir()
    (copy / ".cache" / "of a download").write_text("1")
    assert experiment_key(with_preset(copy)) == experiment_key(config)
    assert "copy" not in str(with_preset(copy).backbone.without_paths())
    with (copy / "config.json").open("a") as file:
        file.write("\n")
    assert weights_digest(with_preset(copy)) != weights_digest(config)
    assert experiment_key(with_preset(copy)) != experiment_key(config)


def test_settings_that_the_network_refuses_are_reported_before_any_work(folder, with_preset):
    refused = {
        "image_size=30": "image_size: invalid value 30 .*use 28 or 32",
        "backbone.pooling=attention": "backbone.pooling: 'attention' .*allowed are average, token, token_average",
        "finetune.image_size=48": "finetune.image_size: a vision transformer has",
        "finetune.unfreeze=block7": "finetune.unfreeze: 'block7' .*blocks are block1, block2, block3",
        "finetune.lora_rank=40": "finetune.lora_rank: invalid value 40 .*use at most 16, or null",
    }
    with pytest.raises(PipelineError) as found:
        check_networks([with_preset(folder, override) for override in refused])
    for message in refused.values():
        assert re.search(message, str(found.value))
