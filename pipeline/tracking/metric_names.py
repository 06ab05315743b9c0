"""What a stage's figures are called in MLflow."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow.entities import Metric

from pipeline.storage.files import read_json

_EPOCH_METRICS = {
    "loss": "training/loss",
    "accuracy": "training/accuracy",
    "val_loss": "validation/loss",
    "val_accuracy": "validation/accuracy",
}


def epoch_metrics(row: dict[str, float]) -> list[Metric]:
    now, step = mlflow.utils.time.get_current_time_millis(), int(row["epoch"])
    named = {name: row[column] for column, name in _EPOCH_METRICS.items()} | {"learning_rate": row["learning_rate"]}
    return [Metric(name, value, now, step) for name, value in named.items()]


def stage_metrics(stage: str, figures: dict) -> dict[str, float]:
    """A stage's metrics.json under MLflow's names: `prepare/images`, `test/accuracy` for the best phase, `test/train/accuracy` for each."""
    if stage == "evaluate":
        phases = {phase: values for phase, values in figures.items() if isinstance(values, dict)}
        return {f"test/{name.replace('.', '/')}": value for name, value in flat(figures[figures["best"]] | phases)}
    if stage == "prepare":
        # What there is of each class is in the plots: thousands of numbers, under names that MLflow may not take.
        told = {name: value for name, value in figures.items() if name not in ("class_counts", "class_shares")}
        return {f"prepare/{name.replace('.', '/')}": value for name, value in flat(told)}
    # The rest of a phase's figures stands in its epochs, or in its parameters.
    phase = {"kept_epoch", "val_loss", "val_accuracy", "trainable_parameters", "kept_share"}
    return {
        f"{stage}/{name}": value for name, value in figures.items() if isinstance(value, int | float) and name in phase
    }


def model_metrics(root: Path, best: str) -> dict[str, float]:
    """What the better phase's model takes: parameters that were trained, size, time for a prediction; and all training, as it ran."""
    return {
        "model/trainable_parameters": read_json(root / best / "metrics.json")["trainable_parameters"],
        "model/size_mib": (root / best / "model.keras").stat().st_size / 2**20,
        "model/prediction_milliseconds": read_json(root / "evaluate" / "speed.json")["prediction_milliseconds"],
        "model/training_seconds": sum(
            read_json(root / phase / "run.json")["seconds"] for phase in ("train", "finetune")
        ),
    }


def flat(settings: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
