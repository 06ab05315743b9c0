"""Of MLflow's files, those of deleted runs are not needed, except for registered models."""

import warnings

import mlflow
import pytest

from pipeline.config import TrackingConfig
from pipeline.tracking.local_files import artifact_folder, artifact_folders, local_database
from pipeline.tracking.store import connect


@pytest.fixture
def tracking(configure) -> TrackingConfig:
    return configure().tracking


def log_run(experiment_id: str, folder) -> tuple[str, str]:
    """A run with a file and a model; returns the ids of both."""
    (folder / "data.txt").write_text("x")
    with mlflow.start_run(experiment_id=experiment_id) as run, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.log_text("text", "a.txt")
        model = mlflow.pyfunc.log_model(
            name="model", loader_module="json", data_path=str(folder / "data.txt"), pip_requirements=["mlflow"]
        )
    return run.info.run_id, model.model_id


def needed(tracking: TrackingConfig) -> dict[str, bool]:
    return {each.folder.name: each.needed for each in artifact_folders(local_database(tracking))}


def test_files_of_deleted_runs_are_not_needed(tracking, tmp_path):
    client, experiment_id = connect(tracking)
    (run, model), (deleted, left), (registered, champion) = (log_run(experiment_id, tmp_path) for _ in range(3))
    assert needed(tracking) == dict.fromkeys([run, model, deleted, left, registered, champion], True)
    mlflow.register_model(f"runs:/{registered}/model", "classifier")
    client.delete_run(deleted)
    client.delete_run(registered)
    wanted = {run: True, model: True, deleted: False, left: False, registered: False, champion: True}
    assert needed(tracking) == wanted
    client.delete_logged_model(model)
    assert needed(tracking) == wanted | {model: False}
    # Left by a run that MLflow does not know.
    (artifact_folder(local_database(tracking)) / "stranger").mkdir()
    assert needed(tracking)["stranger"] is False


def test_where_mlflow_has_no_tables_nothing_is_known(tracking, tmp_path):
    (tmp_path / "mlartifacts" / "run").mkdir(parents=True)
    (tmp_path / "mlflow.db").write_bytes(b"")
    assert needed(tracking) == {}
    (tmp_path / "mlflow.db").unlink()
    assert needed(tracking) == {}
    assert not (tmp_path / "mlflow.db").exists()
