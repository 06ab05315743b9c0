"""Where runs are kept: a database in the checkout, or a server; how it is connected to and asked."""

import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
from filelock import FileLock
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from pipeline.config import TrackingConfig
from pipeline.system.errors import PipelineError
from pipeline.system.paths import main_checkout, resolve
from pipeline.tracking.metric_names import flat

log = logging.getLogger(__name__)


def connect(tracking: TrackingConfig) -> tuple[mlflow.MlflowClient, str]:
    """A client of the store, which is initialised first, and the id of the experiment to log to, made where it is missing.

    Raises:
        MlflowException: the store can't be used.
        PipelineError: somebody deleted the experiment.
    """
    uri = store_uri(tracking)
    mlflow.set_tracking_uri(uri)
    local = uri.startswith("sqlite:///")
    database = Path(uri.removeprefix("sqlite:///")) if local else main_checkout() / "mlflow.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    # Processes that open a new database at the same time break it for good, and making a client is opening it.
    with FileLock(f"{database}.lock"):
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name(tracking.experiment)
        if experiment is None:
            artifacts = (database.parent / "mlartifacts").as_uri() if local else None
            # The UI then shows what belongs to model training.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return client, client.create_experiment(tracking.experiment, artifacts, tags)
    if experiment.lifecycle_stage == "deleted":
        raise PipelineError(
            f"tracking.experiment: {tracking.experiment!r} was deleted in MLflow; restore it there, or choose another name"
        )
    return client, experiment.experiment_id


def complete_runs(tracking: TrackingConfig, query: str | None = None) -> list[Run]:
    """The complete experiments in the store, as MLflow has them, the latest first; those that MLflow's filter `query` finds.

    Raises:
        PipelineError: the store can't be used, or the filter is none.
    """
    conditions = "tags.complete = 'true'" + (f" and {query}" if query else "")
    try:
        client, experiment_id = connect(tracking)
        found, token = [], None
        while token is None or token:
            page = client.search_runs([experiment_id], conditions, max_results=1000, page_token=token)
            found += page
            token = page.token or ""
    except MlflowException as error:
        raise PipelineError(
            f"tracking: {masked(store_uri(tracking))} can't be asked for runs: {masked(error)}"
        ) from error
    return found


def artifact(place: str, path: str) -> Path | None:
    """An artifact of the run whose artifacts lie at `place`, on this machine, downloaded where they lie elsewhere; None where there is no such one."""
    try:
        # By its address: each look-up of a run makes a client.
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{place}/{path}"))
    except (MlflowException, OSError):
        return None


def run_metrics(run_id: str) -> dict[str, float]:
    """The last value of each of a run's metrics."""
    return mlflow.get_run(run_id).data.metrics


def run_artifact(tracking: TrackingConfig, run_id: str, path: str) -> Path | None:
    """As `artifact`, of a run in the configured store."""
    try:
        connect(tracking)
    except MlflowException as error:
        raise PipelineError(
            f"tracking: the store {masked(store_uri(tracking))} can't be used: {masked(error)}"
        ) from error
    return artifact(f"runs:/{run_id}", path)


def log_exports(tracking: TrackingConfig, run_id: str, results: dict[str, dict[str, Any]]) -> None:
    """Add what was found of a model's exports to its run: `export/<format>/size_mib` and the like. A run that is gone is said, not an error."""
    try:
        client, _ = connect(tracking)
        now = mlflow.utils.time.get_current_time_millis()
        named = {f"export/{name}": value for name, value in flat(results) if value is not None}
        metrics = [Metric(name.replace(".", "/"), float(value), now, 0) for name, value in named.items()]
        client.log_batch(run_id, metrics=metrics)
    except MlflowException as error:
        log.warning("The exports' figures could not be logged to run %s: %s", run_id, error)


def logged_model(tracking: TrackingConfig, address: str) -> Path:
    """The folder of a logged or registered model on this machine, downloaded where the store is elsewhere.

    Args:
        tracking: the store.
        address: `runs:/<id>/<name>` or `models:/<name>@<alias>`, as MLflow writes them.

    Raises:
        PipelineError: the store can't be used, or has no such model.
    """
    try:
        connect(tracking)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=address))
    except (MlflowException, OSError) as error:
        raise PipelineError(f"{address}: {masked(store_uri(tracking))} has no such model ({masked(error)})") from error


def masked(told: object) -> str:
    """A text about the store without the passwords that it may hold."""
    text = re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:***@", str(told))
    secrets = (os.environ.get(name) for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"))
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text


def store_uri(tracking: TrackingConfig) -> str:
    """Where runs are logged: `tracking.uri`, else MLFLOW_TRACKING_URI, else the main checkout's mlflow.db."""
    uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if uri.startswith("sqlite:///"):
        # A relative path would mean another place in each working folder, also in one that DVC throws away.
        return f"sqlite:///{resolve(uri.removeprefix('sqlite:///'))}"
    return _without_password(uri) if uri.startswith("http") else uri


def _without_password(uri: str) -> str:
    """A server's address alone; the user and password in it are given to MLflow by its variables, since it prints the addresses of runs."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
