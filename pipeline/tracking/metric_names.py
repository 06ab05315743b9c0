"""The names of a stage's figures in MLflow."""

from collections.abc import Iterator
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
}
# The other figures of a phase are in its epochs, or in its parameters.
_PHASE_METRICS = {"kept_epoch", "val_loss", "val_accuracy", "trainable_parameters", "kept_share"}


def epoch_metrics(row: dict[str, float]) -> list[Metric]:
    """Figures of an epoch (see `pipeline.training.Row`) as MLflow's metrics of now."""
    now, step = mlflow.utils.time.get_current_time_millis(), int(row["epoch"])
    named = {name: row[column] for column, name in _EPOCH_METRICS.items()} | {"learning_rate": row["learning_rate"]}
    return [Metric(name, value, now, step) for name, value in named.items()]


def stage_metrics(stage: str, figures: Json) -> dict[str, float]:
    """A stage's metrics.json under MLflow's names.

    Returns:
        such as `prepare/images`, `test/accuracy` for the best phase, and `test/train/accuracy` for each phase.
    """
    if stage == "evaluate":
        phases = {phase: values for phase, values in figures.items() if isinstance(values, dict)}
        return {f"test/{name.replace('.', '/')}": value for name, value in flatten(figures[figures["best"]] | phases)}
    if stage == "prepare":
        # The figures of each class are in the plots: thousands of numbers, under names that MLflow may refuse.
        overall = {name: value for name, value in figures.items() if name not in ("class_counts", "class_shares")}
        return {f"prepare/{name.replace('.', '/')}": value for name, value in flatten(overall)}
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


def flatten(settings: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries, by their keys joined with dots."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
