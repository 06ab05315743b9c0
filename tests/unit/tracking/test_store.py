"""A local store whose checkout is moved or copied."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import pytest

from pipeline.config import TrackingConfig
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.tracking.store import connect, run_artifact


def tracking(folder: Path) -> TrackingConfig:
    return check(composed([f"tracking.uri='sqlite:///{folder}/mlflow.db'"])).tracking


def new_run(folder: Path) -> mlflow.entities.Run:
    """A run with a file, in the store below `folder`."""
    client, experiment_id = connect(tracking(folder))
    run = client.create_run(experiment_id)
    client.log_text(run.info.run_id, "text", "notes.txt")
    return run


def place(run: mlflow.entities.Run) -> Path:
    return Path(unquote(urlsplit(run.info.artifact_uri).path))


@pytest.fixture(params=["before", "run?a #1", "feature%2Flogin"])
def checkout(tmp_path, request) -> Path:
    folder = tmp_path / request.param
    folder.mkdir()
    return folder


def test_a_moved_store_is_whole(checkout, tmp_path):
    run = new_run(checkout)
    assert place(run).is_relative_to(checkout)
    moved = checkout.rename(tmp_path / "moved here")
    file = run_artifact(tracking(moved), run.info.run_id, "notes.txt")
    assert file.read_text() == "text"
    assert place(new_run(moved)).is_relative_to(moved)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["moved here"]


def test_a_copy_leaves_the_original_alone(tmp_path):
    (tmp_path / "original").mkdir()
    run = new_run(tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    before = sorted((tmp_path / "original").rglob("*"))
    assert place(new_run(tmp_path / "copy")).is_relative_to(tmp_path / "copy")
    client, _ = connect(tracking(tmp_path / "copy"))
    assert place(client.get_run(run.info.run_id)).is_relative_to(tmp_path / "copy")
    assert sorted((tmp_path / "original").rglob("*")) == before
    assert run_artifact(tracking(tmp_path / "original"), run.info.run_id, "notes.txt").read_text() == "text"


def test_files_that_were_not_copied_are_read_where_they_are(tmp_path):
    (tmp_path / "original").mkdir()
    run = new_run(tmp_path / "original")
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "original" / "mlflow.db", tmp_path / "copy")
    assert run_artifact(tracking(tmp_path / "copy"), run.info.run_id, "notes.txt").read_text() == "text"
    assert place(new_run(tmp_path / "copy")).is_relative_to(tmp_path / "copy")
