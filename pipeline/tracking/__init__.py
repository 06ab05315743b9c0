"""Logging of experiments to MLflow."""

import os

# MLflow would show a progress bar for each small file.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# `pipeline.tracking.outbox` waits for an unreachable server in the background, while training continues.
# MLflow itself would wait for minutes in each call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
