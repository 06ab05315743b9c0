"""Runs that commands in a test's folder have logged, and the commands that several tests type."""

from pathlib import Path

import mlflow
from mlflow.entities import Run

from tests.support.images import small_arguments


def runs(folder: Path, role: str = "experiment") -> list[Run]:
    """The runs in the store of a test's folder: of experiments, or of another role."""
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_runs(["1"], f"tags.role = '{role}'")


def steps(folder: Path, run: Run, metric: str = "training/val_loss") -> list[int]:
    """The epochs of which a run has a metric, in the order in which they were logged."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return [point.step for point in client.get_metric_history(run.info.run_id, metric)]


def small(images: Path, folder: Path, *more: str) -> list[str]:
    """The shortest experiment, from scratch and with a cache of its own."""
    own = [f"cache_folder={folder}/cache", "backbone=scratch_cnn", "tracking.system_metrics_interval=null"]
    return [*small_arguments(images), *own, *more]
