"""All that is said to MLflow."""

import os

# Usage telemetry stays off unless somebody wants it; MLflow reads this when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# A bar for each small file that is read.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A server that is away is waited for by `tracking.spool`, with the training going on meanwhile; MLflow's own patience is minutes a call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from pipeline.tracking.find_lr import log_rate_range
from pipeline.tracking.logged_model import log_model
from pipeline.tracking.run import ExperimentRun, StageContext, ledger_of, mark_dead, open_run
from pipeline.tracking.store import (
    artifact,
    complete_runs,
    connect,
    log_exports,
    logged_model,
    masked,
    run_artifact,
    run_metrics,
    store_uri,
)

__all__ = [
    "ExperimentRun",
    "StageContext",
    "artifact",
    "complete_runs",
    "connect",
    "ledger_of",
    "log_exports",
    "log_model",
    "log_rate_range",
    "logged_model",
    "mark_dead",
    "masked",
    "open_run",
    "run_artifact",
    "run_metrics",
    "store_uri",
]
