"""From experiments to a champion: `python -m pipeline.register`, and predict by its name."""

import csv
import io
import json
from pathlib import Path

import mlflow
import pytest

from pipeline import register
from tests.support.images import small_arguments, write_images
from tests.support.in_process import call


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The store of the commands, those called in this process included."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.slow
def test_the_best_becomes_champion_and_answers_by_its_name(command, tmp_path, store, capsys):
    images = write_images(tmp_path / "images", per_class=24)
    run = [
        "pipeline",
        *small_arguments(images),
        "backbone=scratch_cnn",
        "train.epochs=4",
        "train.learning_rate=0.003",
        "train.batch_size=8",
    ]
    ran = command(*run)
    assert ran.returncode == 0, ran.stderr
    ran = command("pipeline.register", "export.images=64")
    assert ran.returncode == 0, ran.stderr
    assert (
        "was registered as version 1 (champion). There was no champion, and the export predicts as the model does."
        in ran.stdout
    )
    assert call(register.main, "--unless-champion") is None
    assert capsys.readouterr().out == "classifier: version 1 is champion\n"
    run_id = store.get_model_version_by_alias("classifier", "champion").run_id
    assert call(register.main, "--runs", run_id, "register.margin=0.02") is None
    assert "is already the champion" in capsys.readouterr().out
    assert "was the first champion" in call(register.main, "--rollback")

    champion = store.get_model_version_by_alias("classifier", "champion")
    assert champion.description.startswith("# Model card: scratch_cnn images")
    assert "| green | 1.0000 (" in champion.description
    assert "{" not in champion.description
    page = Path(
        mlflow.artifacts.download_artifacts(
            run_id=champion.run_id, artifact_path="registry/card.html", tracking_uri=store.tracking_uri
        )
    )
    assert "Intended use and limits" in page.read_text()
    assert champion.tags["decision.promoted"] == "true"
    parity = json.loads(champion.tags["decision.parity"])
    assert parity["images"] == 64
    assert parity["same_class"] == 1
    assert parity["largest_difference"] < parity["tolerance"] == 1e-4
    asked = command("pipeline.predict", "models:/classifier@champion", str(images / "red"))
    assert asked.returncode == 0, asked.stderr
    rows = list(csv.DictReader(io.StringIO(asked.stdout)))
    assert len(rows) == 24
    assert all(float(row["calibrated"]) > 0 and not row["error"] for row in rows)
    exported = command("pipeline.export", f"runs:/{champion.run_id}", "--format", "saved_model")
    assert exported.returncode == 0, exported.stderr
    assert "100.0% of 72" in exported.stdout
    metrics = store.get_run(champion.run_id).data.metrics
    assert metrics["export/saved_model/same_class"] == 1
    assert metrics["export/saved_model/size_mib"] > 0


def test_nothing_to_register_is_an_error(command):
    ran = command("pipeline.register")
    assert ran.returncode == 1
    assert "There is no complete experiment" in ran.stderr
    assert "Traceback" not in ran.stderr
