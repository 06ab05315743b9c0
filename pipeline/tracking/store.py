"""The tracking store: a database in the checkout, or a server; connections to it, and what it has."""

import logging
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline.config import TrackingConfig
from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import main_checkout, resolve
from pipeline.tracking.metric_names import by_path, metrics_of_now

log = logging.getLogger(__name__)


def connect(tracking: TrackingConfig) -> tuple[mlflow.MlflowClient, str]:
    """Connect to the store; initialise it, and create the experiment to log to, where they are missing.

    Returns:
        a client, and the experiment's id.

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
    """Runs of the complete experiments in the store, the latest first; `query`: a filter in MLflow's language.

    Raises:
        PipelineError: the store can't be used, or the filter is not valid.
    """
    conditions = "tags.complete = 'true'" + (f" and {query}" if query else "")
    try:
        client, experiment_id = connect(tracking)
        runs = list(page := client.search_runs([experiment_id], conditions, max_results=1000))
        while page.token:
            runs += (page := client.search_runs([experiment_id], conditions, max_results=1000, page_token=page.token))
    except MlflowException as error:
        raise unusable(tracking, error) from error
    return runs


def artifact(place: str, path: str) -> Path | None:
    """Local path of an artifact below the address `place`, downloaded where needed; None: there is no such artifact."""
    try:
        # By address, since each look-up of a run would make a client.
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{place}/{path}"))
    except (MlflowException, OSError):
        return None


def run_metrics(run_id: str) -> dict[str, float]:
    """The last value of each of a run's metrics."""
    return mlflow.get_run(run_id).data.metrics


def run_artifact(tracking: TrackingConfig, run_id: str, path: str) -> Path | None:
    """As `artifact`, of a run in the configured store; raises PipelineError where that can't be used."""
    try:
        connect(tracking)
    except MlflowException as error:
        raise unusable(tracking, error) from error
    return artifact(f"runs:/{run_id}", path)


def log_exports(tracking: TrackingConfig, run_id: str, results: dict[str, Json]) -> None:
    """Add figures of a model's exports to its run, as `export/<format>/size_mib`; a run that is gone is a warning."""
    try:
        client, _ = connect(tracking)
        values = {name: float(value) for name, value in by_path("export", results).items() if value is not None}
        client.log_batch(run_id, metrics=metrics_of_now(values))
    except MlflowException as error:
        log.warning("The exports' figures could not be logged to run %s: %s", run_id, error)


def logged_model(tracking: TrackingConfig, address: str) -> Path:
    """Local folder of a logged or registered model, downloaded where the store is elsewhere.

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
        raise PipelineError(
            f"{address}: {mask_secrets(store_uri(tracking))} has no such model ({mask_secrets(error)})"
        ) from error


def unusable(tracking: TrackingConfig, error: Exception) -> PipelineError:
    """The error to raise where MLflow can't use the store."""
    return PipelineError(
        f"tracking: the store {mask_secrets(store_uri(tracking))} can't be used: {mask_secrets(error)}"
    )


def mask_secrets(text: object) -> str:
    """A text about the store, its passwords replaced by ***."""
    masked = re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:***@", str(text))
    secrets = (os.environ.get(name) for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"))
    for secret in filter(None, secrets):
        masked = masked.replace(secret, "***")
    return masked


def store_uri(tracking: TrackingConfig) -> str:
    """Address of the store: `tracking.uri`, else MLFLOW_TRACKING_URI, else the main checkout's mlflow.db."""
    uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if uri.startswith("sqlite:///"):
        # A relative path would mean another place in each working folder, also in one that DVC deletes.
        return f"sqlite:///{resolve(uri.removeprefix('sqlite:///'))}"
    if not uri.startswith("http") or (parts := urlsplit(uri)).password is None:
        return uri
    # MLflow gets a server's user and password by its variables, since it prints addresses.
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
