"""Create MLflow runs for experiments and for learning-rate range tests."""

import hashlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from getpass import getuser
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Param
from mlflow.exceptions import MlflowException
from omegaconf import OmegaConf

from pipeline.config import Config, TrackingConfig, experiment_settings
from pipeline.storage.files import Json, file_sha256
from pipeline.system import processes
from pipeline.system.paths import CODE, LOCKS
from pipeline.system.processes import SWEEP, TRIAL
from pipeline.tracking.metric_names import BATCH, flatten, metrics_of_now
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
    tags = {"role": "experiment", "experiment_key": key, "mlflow.source.name": "pipeline", **_origin()}
    run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
    params = [Param(name, str(value)) for name, value in flatten(experiment_settings(config)) if value is not None]
    for start in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[start : start + _PARAMS])
    _log_config(client, run_id, config)
    return run_id


def log_rate_range(config: Config, folder: Path, figures: Json) -> None:
    """Log a learning-rate range test as a separate run.

    Args:
        config: Configuration of the experiment.
        folder: Folder of the test's files, with the curve in rates.csv.
        figures: `phase`, and the learning rates `suggested` and `configured`.

    Raises:
        PipelineError: The store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        name = f"find_lr {config.backbone.name} {figures['phase']}"
        tags = {"role": "find_lr", "mlflow.source.name": "pipeline.find_lr", **_origin()}
        run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        metrics = metrics_of_now({f"find_lr/{key}": figures[key] for key in ("suggested", "configured")})
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


def _origin() -> dict[str, str]:
    """Return tags with the user, the commit, uncommitted changes, lock files, and the sweep of the job."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    tags = {
        "mlflow.user": getuser(),
        "git_commit": commit,
        "mlflow.source.git.commit": commit,
        "git_dirty": str(bool(changes)).lower() if commit else "",
    }
    tags |= {
        f"{lock.stem.replace('requirements', 'lock').replace('-', '_')}_sha256": file_sha256(lock)
        for lock in LOCKS
        if lock.exists()
    }
    # The committed version, since DVC changes the file in the folder while stages run.
    committed = _git("show", "HEAD:dvc.lock")
    tags["dvc_lock_sha256"] = hashlib.sha256(f"{committed}\n".encode()).hexdigest() if committed else ""
    tags["sweep"] = os.environ.get(SWEEP, "")
    if trial := json.loads(os.environ.get(TRIAL, "{}")):
        tags |= {"study": trial["study"], "trial": str(trial["number"])}
    return {name: value for name, value in tags.items() if value}


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=CODE, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
