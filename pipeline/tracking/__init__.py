"""The experiments' runs in MLflow."""

import os

# Usage telemetry stays off unless it is wanted; MLflow reads this when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# No progress bar for each small file.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# `pipeline.tracking.outbox` waits for a server that is away, while training continues;
# MLflow itself would wait minutes at each call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from pipeline.tracking.find_lr import log_rate_range
from pipeline.tracking.logged_model import log_model
from pipeline.tracking.run import ExperimentRun, ledger_of, mark_dead_runs, open_run
from pipeline.tracking.run_finder import StageContext
from pipeline.tracking.store import (
    artifact,
    complete_runs,
    connect,
    log_exports,
    logged_model,
    mask_secrets,
    run_artifact,
    run_metrics,
    store_uri,
    unusable,
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
    "mark_dead_runs",
    "mask_secrets",
    "open_run",
    "run_artifact",
    "run_metrics",
    "store_uri",
    "unusable",
]
