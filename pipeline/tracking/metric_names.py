"""The names of a stage's figures in MLflow."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric

from pipeline.config import PHASES
from pipeline.storage.files import Json, read_json

BATCH = 1000
"""Metrics that one call of log_batch accepts."""

_EPOCH_METRICS = {
    "loss": "training/loss",
    "accuracy": "training/accuracy",
    "val_loss": "validation/loss",
    "val_accuracy": "validation/accuracy",
    "learning_rate": "learning_rate",
}
# The other figures of a phase are in its epochs, or in its parameters.
_PHASE_METRICS = {"kept_epoch", "val_loss", "val_accuracy", "trainable_parameters", "kept_share"}


def metrics_of_now(values: Mapping[str, float], step: int = 0) -> list[Metric]:
    """Values by name as MLflow's metrics of now."""
    now = mlflow.utils.time.get_current_time_millis()
    return [Metric(name, value, now, step) for name, value in values.items()]


def epoch_metrics(row: dict[str, float]) -> list[Metric]:
    """Figures of an epoch (see `pipeline.training.Row`) as MLflow's metrics of now."""
    return metrics_of_now({name: row[column] for column, name in _EPOCH_METRICS.items()}, int(row["epoch"]))


def reported_epochs(client: mlflow.MlflowClient, run_id: str) -> set[int]:
    """Epochs whose figures a run has."""
    return {metric.step for metric in client.get_metric_history(run_id, "training/loss")}


def stage_metrics(stage: str, figures: Json) -> dict[str, float]:
    """A stage's metrics.json under MLflow's names.

    Returns:
        such as `prepare/images`, `test/accuracy` for the best phase, and `test/train/accuracy` for each phase.
    """
    if stage == "evaluate":
        phases = {phase: values for phase, values in figures.items() if isinstance(values, dict)}
        return by_path("test", figures[figures["best"]] | phases)
    if stage == "prepare":
        # The figures of each class are in the plots: thousands of numbers, under names that MLflow may refuse.
        overall = {name: value for name, value in figures.items() if name not in ("class_counts", "class_shares")}
        return by_path("prepare", overall)
    return {
        f"{stage}/{name}": value
        for name, value in figures.items()
        if isinstance(value, int | float) and name in _PHASE_METRICS
    }


def model_metrics(root: Path, best: str) -> dict[str, float]:
    """Costs of the better phase's model: trained parameters, size, time of a prediction; and of all training."""
    return {
        "model/trainable_parameters": read_json(root / best / "metrics.json")["trainable_parameters"],
        "model/size_mib": (root / best / "model.keras").stat().st_size / 2**20,
        "model/prediction_milliseconds": read_json(root / "evaluate" / "speed.json")["prediction_milliseconds"],
        "model/training_seconds": sum(read_json(root / phase / "run.json")["seconds"] for phase in PHASES),
    }


def by_path(start: str, figures: Json) -> Json:
    """The leaves of nested figures, by `start` and their keys joined with slashes."""
    return {f"{start}/{name}".replace(".", "/"): value for name, value in flatten(figures)}


def flatten(settings: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries, by their keys joined with dots."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
