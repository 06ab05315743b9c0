"""Access to the tracking store of MLflow, which is a database in the checkout or a server."""

import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from pipeline.config import TrackingConfig
from pipeline.storage.database import sqlite_address
from pipeline.storage.files import Json, is_writable
from pipeline.system.errors import PipelineError
from pipeline.system.paths import main_checkout
from pipeline.tracking.local_files import artifact_folder, local_database
from pipeline.tracking.metric_names import by_path, metrics_of_now

log = logging.getLogger(__name__)
T = TypeVar("T")


def connect(tracking: TrackingConfig) -> tuple[mlflow.MlflowClient, str]:
    """Connect to the store, and create the database and the MLflow experiment if they do not exist.

    Returns:
        Client of the store, and id of the MLflow experiment.

    Raises:
        MlflowException: The store can't be used.
        PipelineError: The experiment was deleted.
    """
    database = local_database(tracking)
    with store_lock(tracking):
        client = _client(tracking)
        experiment = client.get_experiment_by_name(tracking.experiment)
        if experiment is None:
            artifacts = artifact_folder(database).as_uri() if database else None
            # With this tag, MLflow's user interface shows the pages for model training.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            try:
                return client, client.create_experiment(tracking.experiment, artifacts, tags)
            except MlflowException as error:
                # On a server, another machine may have created it in the meantime.
                if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                    raise
                experiment = client.get_experiment_by_name(tracking.experiment)
                assert experiment is not None
    if experiment.lifecycle_stage == "deleted":
        raise PipelineError(
            f"tracking.experiment: {tracking.experiment!r} was deleted in MLflow; restore it there, or choose another name"
        )
    return client, experiment.experiment_id


def _client(tracking: TrackingConfig) -> mlflow.MlflowClient:
    """Return a client of the store, which creates a database that does not exist.

    Call it with the store's lock, since processes that open a new database at the same time damage it.
    """
    uri, database = store_uri(tracking), local_database(tracking)
    mlflow.set_tracking_uri(uri)
    if database and database.exists():
        follow_moved_artifacts(database)
    return mlflow.MlflowClient(uri)


def _read(tracking: TrackingConfig, address: str, read: Callable[[mlflow.MlflowClient], T]) -> T:
    """Read a model from the store, in which nothing is created.

    Raises:
        PipelineError: The store can't be used, or has no such model.
    """
    database = local_database(tracking)
    try:
        if database and not database.exists():
            raise FileNotFoundError("the database does not exist")
        with store_lock(tracking):
            client = _client(tracking)
        return read(client)
    except (MlflowException, OSError) as error:
        raise PipelineError(
            f"{address}: {mask_secrets(store_uri(tracking))} has no such model ({mask_secrets(error)})"
        ) from error


def store_lock(tracking: TrackingConfig) -> FileLock:
    """Return a lock for processes of this machine that create something in the store which must exist only once."""
    lock = Path(f"{local_database(tracking) or main_checkout() / 'mlflow.db'}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def complete_runs(tracking: TrackingConfig, query: str | None = None) -> list[Run]:
    """Return the runs of complete experiments in the store, beginning with the latest.

    Args:
        tracking: Settings of the store.
        query: Filter in MLflow's search syntax; None: all complete runs.

    Raises:
        PipelineError: The store can't be used, or the filter is invalid.
    """
    return experiment_runs(tracking, "tags.complete = 'true'" + (f" and {query}" if query else ""))


def experiment_runs(tracking: TrackingConfig, query: str | None = None) -> list[Run]:
    """Return the runs of experiments, complete or not, beginning with the latest; see `complete_runs`.

    Runs of sweeps, searches and learning-rate range tests are no experiments.
    """
    conditions = "tags.role = 'experiment'" + (f" and {query}" if query else "")
    try:
        client, experiment_id = connect(tracking)
        runs = list(page := client.search_runs([experiment_id], conditions, max_results=1000))
        while page.token:
            runs += (page := client.search_runs([experiment_id], conditions, max_results=1000, page_token=page.token))
    except MlflowException as error:
        raise unusable(tracking, error) from error
    return runs


def artifact(place: str, path: str) -> Path | None:
    """Return the local path of the artifact at `place`/`path`, downloaded if needed; None if it does not exist."""
    try:
        # The address is given instead of the run, since MLflow would create a client for each run.
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{place}/{path}"))
    except (MlflowException, OSError):
        return None


def run_metrics(run_id: str) -> dict[str, float]:
    """Return the last value of each metric of a run."""
    return mlflow.get_run(run_id).data.metrics


def run_artifact(tracking: TrackingConfig, run_id: str, path: str) -> Path | None:
    """Return the local path of an artifact of a run, downloaded if needed; None if it does not exist.

    Raises:
        PipelineError: The store can't be used.
    """
    try:
        connect(tracking)
    except MlflowException as error:
        raise unusable(tracking, error) from error
    return artifact(f"runs:/{run_id}", path)


def log_exports(tracking: TrackingConfig, run_id: str, results: dict[str, Json]) -> None:
    """Log the results of a model's exports to its run, as metrics such as `export/<format>/size_mib`.

    If the run does not exist any more, a warning is logged.
    """
    try:
        client, _ = connect(tracking)
        values = {name: float(value) for name, value in by_path("export", results).items() if value is not None}
        client.log_batch(run_id, metrics=metrics_of_now(values))
    except MlflowException as error:
        log.warning("tracking: results of exports could not be logged to run %s: %s", run_id, error)


def logged_model(tracking: TrackingConfig, address: str) -> Path:
    """Return the local folder of a logged or registered model, downloaded if needed.

    Args:
        tracking: Settings of the store.
        address: Address of the model in MLflow: `runs:/<id>/<name>` or `models:/<name>@<alias>`.

    Raises:
        PipelineError: The store can't be used, or has no such model.
    """
    return _read(tracking, address, lambda _: Path(mlflow.artifacts.download_artifacts(artifact_uri=address)))


def version_of(tracking: TrackingConfig, name: str, alias: str) -> str:
    """Return the number of the version of a registered model that has an alias.

    Raises:
        PipelineError: The store can't be used, or has no such model or alias.
    """
    return _read(
        tracking, f"models:/{name}@{alias}", lambda client: str(client.get_model_version_by_alias(name, alias).version)
    )


def unusable(tracking: TrackingConfig, error: Exception) -> PipelineError:
    """Return the error to raise if MLflow can't use the store."""
    return PipelineError(
        f"tracking: the store {mask_secrets(store_uri(tracking))} can't be used: {mask_secrets(error)}"
    )


def mask_secrets(text: object) -> str:
    """Return a text with passwords and tokens of the store replaced by ***."""
    masked = re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:***@", str(text))
    secrets = (os.environ.get(name) for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"))
    for secret in filter(None, secrets):
        masked = masked.replace(secret, "***")
    return masked


# Columns of MLflow's database that hold addresses of files.
_ADDRESSES = {
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def follow_moved_artifacts(database: Path) -> None:
    """Correct the addresses of files in a database that was moved or copied with its checkout.

    MLflow stores absolute addresses. New runs write beside the database from now on, and old runs are read there, if
    their files are there too; other runs keep their addresses.
    """
    here = artifact_folder(database).as_uri()
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        try:
            found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        except sqlite3.OperationalError:
            # MLflow has not created its tables yet.
            return
        moved = [
            old for (old,) in found if old and old.startswith("file:") and old.endswith("/mlartifacts") and old != here
        ]
        if not moved or not is_writable(database.parent) or not os.access(database, os.W_OK):
            return
        with connection:
            for old in moved:
                connection.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (here, old)
                )
                for table, column in _ADDRESSES.items():
                    rows = connection.execute(
                        f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE ?", (f"{old}/%",)
                    )
                    for (address,) in rows.fetchall():
                        present = here + address.removeprefix(old)
                        if Path(unquote(urlsplit(present).path)).exists():
                            connection.execute(
                                f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (present, address)
                            )
                log.info("tracking: files of runs are now read and written in %s, no longer in %s", here, old)


def ui_address(tracking: TrackingConfig) -> str:
    """Return the address of MLflow's user interface: the server's, or that of `make ui`."""
    uri = store_uri(tracking)
    return uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"


def store_uri(tracking: TrackingConfig) -> str:
    """Return the address of the store: `tracking.uri`, MLFLOW_TRACKING_URI, or mlflow.db in the main checkout."""
    if database := local_database(tracking):
        return sqlite_address(database)
    uri = tracking.uri or os.environ["MLFLOW_TRACKING_URI"]
    if not uri.startswith("http") or (parts := urlsplit(uri)).password is None:
        return uri
    # MLflow prints addresses, so it gets the server's user and password through environment variables.
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
