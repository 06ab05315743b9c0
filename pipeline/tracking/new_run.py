"""Create MLflow runs for experiments and for learning-rate range tests."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Param
from mlflow.exceptions import MlflowException
from omegaconf import OmegaConf

from pipeline.config import Config, TrackingConfig, experiment_settings
from pipeline.config.texts import NAMED
from pipeline.storage.files import Json
from pipeline.system import processes
from pipeline.tracking.metric_names import BATCH, flatten, metrics_of_now
from pipeline.tracking.origin import origin
from pipeline.tracking.store import connect, unusable

# Largest number of parameters in one call of log_batch.
_PARAMS = 100


@dataclass(frozen=True)
class RunRecord:
    """Data needed to log to a run, also from another process. It can be stored as JSON, and contains no secrets."""

    id: str
    experiment_key: str
    title: str
    """Name of the run without unfreeze depth and key."""
    dataset: str
    """Name of the data set."""
    tracking: TrackingConfig
    process: str
    """Identity of the process that works on the run; see `pipeline.system.processes.own`."""

    @classmethod
    def of(cls, run_id: str, key: str, config: Config) -> "RunRecord":
        """Return the record of a run of an experiment, with this process as the one that works on it."""
        images = Path(config.dataset.path).name if config.dataset.path else config.dataset.name
        title = f"{config.backbone.name} {images}"
        return cls(run_id, key, title, config.dataset.name, config.tracking, processes.own())

    @classmethod
    def from_dict(cls, content: Json) -> "RunRecord":
        """Create a record from the output of `dataclasses.asdict`.

        Raises:
            TypeError, KeyError: The content is not that of a record.
        """
        return cls(**content | {"tracking": TrackingConfig(**content["tracking"])})

    def name(self, unfreeze: int | str) -> str:
        """Return the name of the run: backbone, data set, unfreeze depth, first six characters of the key."""
        return f"{self.title} {unfreeze} {self.experiment_key[:6]}"


def create_run(client: mlflow.MlflowClient, experiment_id: str, key: str, config: Config) -> str:
    """Create the run of an experiment, with its parameters, its configuration and the version of the code.

    Returns:
        Id of the run.
    """
    name = RunRecord.of("", key, config).name(config.finetune.unfreeze)
    tags = {"role": "experiment", "experiment_key": key, "mlflow.source.name": "pipeline", **origin()}
    run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
    params = [Param(name, value) for name, value in _parameters(config)]
    for start in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[start : start + _PARAMS])
    _log_config(client, run_id, config)
    return run_id


def _parameters(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a run: all settings that results depend on, except those that are null."""
    settings = experiment_settings(config)
    for key in NAMED:
        # MLflow does not accept all names of classes as names of parameters.
        section, _, leaf = key.partition(".")
        if isinstance(settings[section][leaf], dict):
            settings[section][leaf] = json.dumps(settings[section][leaf], ensure_ascii=False)
    for name, value in flatten(settings):
        if value is not None:
            yield name, str(value)


def log_rate_range(config: Config, folder: Path, figures: Json) -> None:
    """Log a learning-rate range test as a separate run.

    Args:
        config: Configuration of the experiment.
        folder: Folder of the test's files, with the curve in rates.csv.
        figures: `phase`, and the learning rates `suggested` (may be None) and `configured`.

    Raises:
        PipelineError: The store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        name = f"find_lr {config.backbone.name} {figures['phase']}"
        tags = {"role": "find_lr", "mlflow.source.name": "pipeline.find_lr", **origin()}
        run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        known = {key: figures[key] for key in ("suggested", "configured") if figures[key] is not None}
        metrics = metrics_of_now({f"find_lr/{key}": value for key, value in known.items()})
        for step, row in enumerate(pd.read_csv(folder / "rates.csv").to_dict("records"), start=1):
            metrics += metrics_of_now({f"find_lr/{key}": value for key, value in row.items()}, step)
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        _log_config(client, run_id, config)
        client.log_artifacts(run_id, str(folder), "find_lr")
        client.set_terminated(run_id)
    except MlflowException as error:
        raise unusable(config.tracking, error) from error


def _log_config(client: mlflow.MlflowClient, run_id: str, config: Config) -> None:
    client.log_text(run_id, OmegaConf.to_yaml(OmegaConf.create(asdict(config))), "config.yaml")
