"""Names of the stages' metrics in MLflow: those that people chart, and all of them, which are in a table."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Metric

from pipeline.config import PHASES
from pipeline.storage.files import Json, read_json

BATCH = 1000
"""Largest number of metrics in one call of log_batch."""

TABLE = "metrics.csv"
"""Name of the artifact with all metrics of a stage, beside the stage's other artifacts."""

_EPOCH_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
_CHARTED = {
    *("test/accuracy", "test/accuracy_low", "test/accuracy_high", "test/macro_f1", "test/auc", "test/loss", "test/ece"),
    *("test/train/accuracy", "test/finetune/accuracy", "test/comparison/accuracy_difference", "test/corrupted/mean"),
    *("train/val_accuracy", "finetune/val_accuracy", "finetune/trainable_parameters"),
}
_TOP_K = re.compile(r"test/top\d+_accuracy")
# The other metrics of a phase are logged per epoch, or are parameters of the run.
_PHASE_METRICS = {"kept_epoch", "val_loss", "val_accuracy", "trainable_parameters", "kept_share"}


def metrics_of_now(values: Mapping[str, float], step: int = 0) -> list[Metric]:
    """Return MLflow metrics with the given names and values, and the current time."""
    now = mlflow.utils.time.get_current_time_millis()
    return [Metric(name, value, now, step) for name, value in values.items()]


def epoch_metrics(row: dict[str, float]) -> list[Metric]:
    """Return the metrics of an epoch (see `pipeline.training.Row`) as MLflow metrics, with the current time."""
    return metrics_of_now({f"training/{name}": row[name] for name in _EPOCH_METRICS}, int(row["epoch"]))


def reported_epochs(client: mlflow.MlflowClient, run_id: str) -> set[int]:
    """Return the epochs whose metrics are logged to a run."""
    return {metric.step for metric in client.get_metric_history(run_id, "training/loss")}


def charted(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that are logged as such, from those of `stage_metrics`; the others are only in the table."""
    return {name: value for name, value in metrics.items() if name in _CHARTED or _TOP_K.fullmatch(name)}


def as_table(metrics: Mapping[str, float]) -> str:
    """Return all metrics of a stage as a CSV table with the columns `metric` and `value`."""
    return pd.DataFrame({"metric": list(metrics), "value": list(metrics.values())}).to_csv(index=False)


def read_table(file: Path) -> dict[str, float]:
    """Read a table that `as_table` wrote; the values are the same to the last digit."""
    table = pd.read_csv(file, dtype=str)
    return dict(zip(table["metric"], map(float, table["value"]), strict=True))


def stage_metrics(stage: str, figures: Json) -> dict[str, float]:
    """Return all metrics in a stage's metrics.json, with their names in MLflow.

    Returns:
        Values by name, such as `prepare/images`, `test/accuracy` for the better phase, and `test/train/accuracy` for
        each phase.
    """
    if stage == "evaluate":
        phases = {phase: values for phase, values in figures.items() if isinstance(values, dict)}
        return by_path("test", figures[figures["best"]] | phases)
    if stage == "prepare":
        # Numbers per class are in the plots: there may be thousands, with names that MLflow rejects.
        overall = {name: value for name, value in figures.items() if name not in ("class_counts", "class_shares")}
        return by_path("prepare", overall)
    return {
        f"{stage}/{name}": value
        for name, value in figures.items()
        if isinstance(value, int | float) and name in _PHASE_METRICS
    }


def model_metrics(root: Path, best: str) -> dict[str, float]:
    """Return the costs of the better phase's model (trained parameters, size, prediction time) and of all training."""
    return {
        "model/trainable_parameters": read_json(root / best / "metrics.json")["trainable_parameters"],
        "model/size_mib": (root / best / "model.keras").stat().st_size / 2**20,
        "model/prediction_milliseconds": read_json(root / "evaluate" / "speed.json")["prediction_milliseconds"],
        "model/training_seconds": sum(read_json(root / phase / "run.json")["seconds"] for phase in PHASES),
    }


def by_path(start: str, figures: Json) -> Json:
    """Return the leaves of nested metrics by name: `start` and their keys, joined with slashes."""
    return {f"{start}/{name}".replace(".", "/"): value for name, value in flatten(figures)}


def flatten(settings: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries, each with its keys joined with dots."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
