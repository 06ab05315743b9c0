"""A new run in MLflow: what identifies an experiment, and where it comes from."""

import hashlib
import json
import os
import subprocess
from dataclasses import asdict
from getpass import getuser
from pathlib import Path

import mlflow
from mlflow.entities import Param
from omegaconf import OmegaConf

from pipeline.config import Config, experiment_settings
from pipeline.storage.files import file_sha256
from pipeline.system.environment import SWEEP, TRIAL
from pipeline.system.paths import CODE, LOCKS
from pipeline.tracking.metric_names import flat

# Parameters that one call of log_batch takes.
_PARAMS = 100


def create_run(client: mlflow.MlflowClient, experiment_id: str, key: str, config: Config) -> str:
    """Make the run of an experiment, with its parameters and origin; its id."""
    name = run_name(config, config.finetune.unfreeze, key)
    tags = {
        "role": "experiment",
        "experiment_key": key,
        "mlflow.source.name": "pipeline",
        "mlflow.user": getuser(),
        **origin(),
    }
    run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
    params = [Param(name, str(value)) for name, value in flat(experiment_settings(config)) if value is not None]
    for start in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[start : start + _PARAMS])
    client.log_text(run_id, OmegaConf.to_yaml(OmegaConf.create(asdict(config))), "config.yaml")
    return run_id


def run_name(config: Config, unfreeze: int | str, key: str) -> str:
    """What people call an experiment by: backbone, images, unfreeze depth, and the start of its key."""
    images = Path(config.dataset.path).name if config.dataset.path else config.dataset.name
    return f"{config.backbone.name} {images} {unfreeze} {key[:6]}"


def origin() -> dict[str, str]:
    """What it takes to come back to this code: commit, whether anything was changed since, locks, and the sweep that the job belongs to."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    tags = {
        "git_commit": commit,
        "mlflow.source.git.commit": commit,
        "git_dirty": str(bool(changes)).lower() if commit else "",
    }
    tags |= {
        f"{lock.stem.replace('requirements', 'lock').replace('-', '_')}_sha256": file_sha256(lock)
        for lock in LOCKS
        if lock.exists()
    }
    # The one in the folder is half-written while stages run.
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
