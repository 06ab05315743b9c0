"""Files of a local MLflow store, and those that MLflow no longer needs; MLflow itself is not imported, for speed."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import TrackingConfig
from pipeline.system.paths import resolve


def local_database(tracking: TrackingConfig) -> Path | None:
    """Return the database file of the store; None if it is a server."""
    uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    # A relative path would depend on the working folder, which may be a copy that DVC deletes.
    return resolve(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def artifact_folder(database: Path) -> Path:
    """Return the folder in which the runs of a local database keep their files."""
    return database.parent / "mlartifacts"


@dataclass(frozen=True)
class ArtifactFolder:
    """Folder of one run's files, or of one logged model."""

    folder: Path
    is_model: bool
    needed: bool
    """Whether the run exists. A model is also needed if it is registered."""


# Runs and models that are not deleted, by the names of their folders. MLflow leaves the models of a deleted run as they
# are. A registered model has an address such as models:/<id>.
_RUNS = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"
_MODELS = f"""SELECT model_id FROM logged_models WHERE lifecycle_stage = 'active'
    AND (source_run_id IS NULL OR source_run_id IN ({_RUNS})
         OR 'models:/' || model_id IN (SELECT source FROM model_versions WHERE current_stage != 'Deleted_Internal'))"""


def artifact_folders(database: Path) -> Iterator[ArtifactFolder]:
    """Yield the folders of all runs and models that the store keeps beside its database."""
    place = artifact_folder(database)
    needed = _needed(database) if place.is_dir() else None
    if needed is None:
        # Without MLflow's tables, nothing is known about the files.
        return
    for folder in sorted(place.glob("*/")):
        if folder.name == "models":
            for model in sorted(folder.glob("*/")):
                yield ArtifactFolder(model, is_model=True, needed=model.name in needed)
        else:
            yield ArtifactFolder(folder, is_model=False, needed=folder.name in needed)


def _needed(database: Path) -> set[str] | None:
    try:
        # The mode prevents that a missing database is created.
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
            return {name for query in (_RUNS, _MODELS) for (name,) in connection.execute(query)}
    except sqlite3.Error:
        return None
