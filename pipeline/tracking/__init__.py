"""The experiments' runs in MLflow."""

import os

# No progress bar for each small file.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# `pipeline.tracking.outbox` waits for a server that is away, while training continues;
# MLflow itself would wait minutes at each call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
