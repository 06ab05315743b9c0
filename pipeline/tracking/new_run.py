"""Create MLflow runs for experiments."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

import mlflow
from mlflow.entities import Param
from omegaconf import OmegaConf

from pipeline.config import Config, TrackingConfig, experiment_settings
from pipeline.config.texts import NAMED
from pipeline.storage.files import Json
from pipeline.system import processes
from pipeline.system.paths import resolve
from pipeline.tracking.initial_weights import weights_tags, without_aliases
from pipeline.tracking.metric_names import flatten
from pipeline.tracking.names import dataset_name, run_name
from pipeline.tracking.origin import origin
from pipeline.tracking.parent_run import parent_tag

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
    """Create the run of an experiment, with its parameters, configuration, initial weights and version of the code.

    The job of a sweep is nested in the sweep's run.

    Returns:
        Id of the run.
    """
    tags = {"role": "experiment", "experiment_key": key, "mlflow.source.name": "pipeline", **origin(), **parent_tag()}
    tags |= weights_tags(config)
    run_id = client.create_run(experiment_id, run_name=run_name(key, config), tags=tags).info.run_id
    params = [Param(name, value) for name, value in _parameters(config)]
    for start in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[start : start + _PARAMS])
    log_config(client, run_id, config)
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


def log_config(client: mlflow.MlflowClient, run_id: str, config: Config) -> None:
    """Log the complete configuration to a run, as config.yaml, in which a model has its version instead of an alias."""
    weights = without_aliases(config.backbone.weights, config.tracking)
    config = replace(config, backbone=replace(config.backbone, weights=weights))
    client.log_text(run_id, OmegaConf.to_yaml(OmegaConf.create(asdict(config))), "config.yaml")
