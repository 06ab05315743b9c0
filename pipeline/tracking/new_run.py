"""Create MLflow runs for experiments and for learning-rate range tests."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
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
from pipeline.system.paths import resolve
from pipeline.tracking.metric_names import BATCH, flatten, metrics_of_now
from pipeline.tracking.names import dataset_name, run_name
from pipeline.tracking.origin import origin
from pipeline.tracking.parent_run import parent_tag
from pipeline.tracking.store import connect, unusable

# Largest number of parameters in one call of log_batch.
_PARAMS = 100


@dataclass(frozen=True)
class RunRecord:
    """Data needed to log to a run, also from another process. It can be stored as JSON, and contains no secrets."""

    id: str
    experiment_key: str
    tracking: TrackingConfig
    process: str
    """Identity of the process that works on the run; see `pipeline.system.processes.own`."""
    dataset: str = ""
    """Name of the data set."""
    images: str = ""
    """Folder or table of the data set; empty if it is bundled or downloaded."""
    unfreeze: str = ""
    """Unfreeze depth of the configuration, which is in the run's name until one is chosen."""

    @classmethod
    def of(cls, run_id: str, key: str, config: Config) -> "RunRecord":
        """Return the record of a run of an experiment, with this process as the one that works on it."""
        dataset = config.dataset
        images = str(resolve(dataset.path)) if dataset.path else ""
        asked, name = str(config.finetune.unfreeze), dataset_name(dataset)
        return cls(run_id, key, config.tracking, processes.own(), name, images, asked)

    @classmethod
    def from_dict(cls, content: Json) -> "RunRecord":
        """Create a record from the output of `dataclasses.asdict`, also from an older one with other fields.

        Raises:
            TypeError, KeyError: The content is not that of a record.
        """
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in content.items() if name in known}
        return cls(**given | {"tracking": TrackingConfig(**content["tracking"])})


def create_run(client: mlflow.MlflowClient, experiment_id: str, key: str, config: Config) -> str:
    """Create the run of an experiment, with its parameters, its configuration and the version of the code.

    The job of a sweep is nested in the sweep's run.

    Returns:
        Id of the run.
    """
    tags = {"role": "experiment", "experiment_key": key, "mlflow.source.name": "pipeline", **origin(), **parent_tag()}
    run_id = client.create_run(experiment_id, run_name=run_name(key, config), tags=tags).info.run_id
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
        figures: `phase`, and the learning rates `suggested` (may be None), `lowest` and `configured`.

    Raises:
        PipelineError: The store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        name = f"find_lr {config.backbone.name} {dataset_name(config.dataset)}, {figures['phase']}"
        tags = {"role": "find_lr", "mlflow.source.name": "pipeline.find_lr", **origin()}
        run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        known = {key: figures[key] for key in ("suggested", "lowest", "configured") if figures[key] is not None}
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
