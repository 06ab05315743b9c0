"""Hydra's launchers: the packages that they need, and how many jobs they run at the same time."""

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec

from omegaconf import DictConfig

from pipeline.config import Config
from pipeline.system.errors import PipelineError
from pipeline.system.gpu import gpu_names

log = logging.getLogger(__name__)

_JOBLIB = "hydra/launcher=joblib"
# Choices that need an optional dependency: the module, and the extra of this package that installs it.
_EXTRAS = {
    _JOBLIB: ("hydra_plugins.hydra_joblib_launcher", "parallel"),
    "hydra/launcher=ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "hydra/launcher=submitit_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/sweeper=optuna": ("optuna", "optuna"),
}


def check_installed(overrides: Sequence[str]) -> None:
    """Raise a PipelineError if an override needs an optional package that is not installed."""
    for override in overrides:
        module, extra = _EXTRAS.get(override, ("hydra", ""))
        if find_spec(module) is None:
            raise PipelineError(f'{override} is not installed: pip install ".[{extra}]"')


def one_job_per_gpu(overrides: Sequence[str], configs: Sequence[Config]) -> list[str]:
    """Return the overrides by which a sweep runs as many jobs at the same time as this machine has GPUs.

    There are none with fewer than two GPUs, where the user has chosen a launcher or another sweeper, and where a
    job uses all GPUs.

    Args:
        overrides: Overrides of the command line.
        configs: Configurations of the jobs.
    """
    gpus = len(gpu_names(os.environ))
    chosen = any(each.startswith(("hydra/launcher=", "hydra/sweeper=")) for each in overrides)
    if gpus < 2 or chosen or any(each.hardware.strategy in ("mirrored", "multi_worker") for each in configs):
        return []
    if find_spec(_EXTRAS[_JOBLIB][0]) is None:
        log.warning('jobs use one of %d GPUs; for one job on each: pip install ".[parallel]"', gpus)
        return []
    return [_JOBLIB, f"hydra.launcher.n_jobs={gpus}"]


def workers(launcher: DictConfig) -> int | None:
    """Return the number of jobs that a Hydra launcher runs at the same time; None if it is unknown.

    As in joblib, -1 means one job per core.
    """
    jobs = launcher.get("n_jobs")
    if jobs is None:
        return 1 if launcher._target_.endswith("BasicLauncher") else None
    return int(jobs) if int(jobs) > 0 else max(1, (os.cpu_count() or 1) + 1 + int(jobs))
