"""Results of an experiment as tables, pages and a classifier, from its folder and from MLflow."""

import html
import os
import re
import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipeline.api import Run, open_run
from pipeline.config.compose import CONF
from pipeline.config.image import Decoding
from pipeline.inputs.decoding import pixels
from pipeline.models.saving import load_classifier
from pipeline.system.errors import PipelineError
from pipeline.tracking.tags import FOLDER
from pipeline.training.temperature import at_temperature


@pytest.fixture
def store(experiment) -> list[str]:
    """Overrides that name the experiment's store."""
    return [f"tracking.uri={experiment.config.tracking.uri}"]


@pytest.fixture
def elsewhere(experiment) -> Run:
    """The experiment's run, as on a machine that has not its folder."""
    return Run(None, experiment.run_id, experiment.config)


def test_a_folder_opens_as_tables(experiment):
    run = open_run(experiment.root)
    assert (run.folder, run.run_id) == (experiment.root, experiment.run_id)
    assert len(run.manifest) == 60
    assert run.history["epoch"].tolist() == list(range(1, 12))
    assert run.history["phase"].tolist() == ["train"] * 8 + ["finetune"] * 3
    reported = experiment.json("evaluate", "metrics.json")
    assert run.best == reported["best"]
    assert list(run.metrics.columns) == ["train", "finetune"]
    for phase in run.metrics:
        assert run.metrics.loc["accuracy_low", phase] == reported[phase]["accuracy_low"]
        assert run.metrics.loc["calibration.temperature", phase] == reported[phase]["calibration"]["temperature"]
    predictions = run.predictions
    assert len(predictions) == reported["finetune"]["images"]
    expected = np.array(run.classes)[np.stack(predictions["probabilities"]).argmax(axis=1)]
    assert predictions["prediction"].tolist() == expected.tolist()
    assert len(pd.read_csv(run.file("evaluate/per_class.csv"))) == 6
    accuracy = reported[run.best]["accuracy"]
    assert f"{run.best}, test accuracy {accuracy:.4f} (" in repr(run)


def test_a_run_in_mlflow_opens_by_id_and_name(experiment, store):
    name = experiment.client.get_run(experiment.run_id).info.run_name
    for address in (experiment.run_id, experiment.run_id[:9], f"runs:/{experiment.run_id}", name):
        run = open_run(address, overrides=store)
        assert (run.folder, run.run_id) == (experiment.root, experiment.run_id)


def test_a_run_whose_folder_is_elsewhere_has_the_tables_that_mlflow_stores(experiment, elsewhere):
    here = open_run(experiment.root)
    for table in ("history", "predictions", "metrics"):
        pd.testing.assert_frame_equal(getattr(elsewhere, table), getattr(here, table))
    assert (elsewhere.best, elsewhere.classes) == (here.best, here.classes)
    assert elsewhere.page().file.read_text() == here.page().file.read_text()
    with pytest.raises(PipelineError, match=r"has no prepare/manifest\.parquet in MLflow, and its job folder is not"):
        _ = elsewhere.manifest


def test_a_folder_of_other_results_is_not_taken_for_the_run(experiment, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(experiment.config.tracking.uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    mlflow.MlflowClient(uri).set_tag(experiment.run_id, FOLDER, str(tmp_path))
    assert open_run(experiment.run_id, overrides=[f"tracking.uri={uri}"]).folder is None


def test_images_are_predicted_by_the_better_phase(experiment, elsewhere, images, tmp_path, capsys):
    (tmp_path / "cut.png").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("x")
    best = experiment.json("evaluate", "metrics.json")["best"]
    model, classes = load_classifier(experiment.root / best / "model.keras")
    files = sorted((images / "red").iterdir())
    raw = model.predict(np.stack([pixels(file.read_bytes(), Decoding(32)) for file in files]), verbose=0)
    expected = at_temperature(raw, experiment.json("evaluate", "calibration.json")[best])
    run = open_run(experiment.root)
    rows = run.predict([images / "red", str(tmp_path)], top=2)
    assert list(rows.columns) == ["path", "class", "probability", "error", "calibrated", "class_2", "probability_2"]
    assert rows["path"].tolist() == [*map(str, files), f"{tmp_path}/cut.png"]
    assert rows["class"][:-1].tolist() == np.array(classes)[expected.argmax(axis=1)].tolist()
    # The folded network is exact but for rounding.
    np.testing.assert_allclose(rows["probability"][:-1].astype(float), expected.max(axis=1), atol=1e-4)
    assert pd.isna(rows["class"].iloc[-1])
    assert rows["error"].iloc[-1]
    assert "list.txt" in capsys.readouterr().err
    logged = elsewhere.predict(files[0])
    assert logged["class"].tolist() == rows["class"][:1].tolist()
    assert logged["probability"][0] == pytest.approx(rows["probability"][0], abs=1e-5)


def test_a_page_is_shown_in_a_frame(experiment):
    page = open_run(experiment.root).page("duplicates")
    shown = re.fullmatch(
        '<iframe srcdoc="([^"]*)" width="100%" height="800" style="border: 0"></iframe>', page._repr_html_()
    )
    written = (experiment.root / "report" / "duplicates.html").read_text()
    assert html.unescape(shown[1]) == written.replace("<head>", '<head><base href="about:srcdoc">')
    assert '<base href="about:srcdoc">' in html.unescape(shown[1])


def test_what_is_not_there_gets_a_sentence(experiment, store, tmp_path):
    name = experiment.client.get_run(experiment.run_id).info.run_name
    message = (
        rf"nowhere has no results of stages, and 'nowhere' is not the run id .* {experiment.run_id[:8]} \({name}\)"
    )
    with pytest.raises(PipelineError, match=message):
        open_run("nowhere", overrides=store)
    with pytest.raises(PipelineError, match=r"did you mean train\.epochs"):
        open_run(experiment.root, overrides=["train.epocs=3"])
    with pytest.raises(PipelineError, match=r"has no report/none\.html; run the experiment again"):
        open_run(experiment.root).page("none")
    (tmp_path / "prepare").mkdir()
    unfinished = open_run(tmp_path)
    assert repr(unfinished) == f"Run({tmp_path})"
    with pytest.raises(PipelineError, match="is not a classifier"):
        _ = unfinished.classifier
    # A notebook shows the sentence alone.
    assert PipelineError("a sentence")._render_traceback_() == ["a sentence"]


def test_hydra_and_mlflow_stay_as_the_notebook_uses_them(experiment, elsewhere, store, monkeypatch, tmp_path):
    own = f"sqlite:///{tmp_path}/own.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    mlflow.set_tracking_uri(None)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        open_run(experiment.run_id, overrides=store)
        _ = elsewhere.history
        assert GlobalHydra.instance().hydra is hydra
        assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == own
    # Where the notebook has chosen no store, the next call takes that of its own configuration.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    open_run(experiment.run_id, overrides=store)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert not mlflow.is_tracking_uri_set()
