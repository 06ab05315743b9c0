"""Plan of a grid of jobs, from their overrides."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, open_dict

from pipeline.config.compose import from_hydra
from pipeline.jobs.job import reason
from pipeline.jobs.launchers import workers
from pipeline.jobs.plan import Plan
from pipeline.jobs.planner import Planner
from pipeline.sweeps.labels import labels
from pipeline.system.errors import PipelineError

_KEY = "${experiment_key:}"


def plan_grid(
    jobs: Sequence[Sequence[str]], compose: Callable[[Sequence[str]], DictConfig], *, last: str | None, remember: bool
) -> Plan:
    """Plan the jobs of a sweep.

    Args:
        jobs: Overrides of each job.
        compose: Function that composes the configuration of a job, with Hydra's own settings, from its overrides.
        last: Last stage to run; None: all stages.
        remember: Whether to write the digests of images to the cache.
    """
    planner, count = Planner(last, sweep=True, remember=remember), None
    for number, (label, overrides) in enumerate(zip(labels(jobs), jobs, strict=True)):
        cfg = compose(overrides)
        count = workers(cfg.hydra.launcher)
        try:
            planner.add(label, from_hydra(cfg), partial(_folder, cfg, number))
        except (PipelineError, OSError) as error:
            planner.add_invalid(label, reason(error))
    return planner.plan(count)


def _folder(cfg: DictConfig, number: int, key: str) -> Path:
    """Return the folder of job `number`, from 0, of the experiment with this key."""
    with open_dict(cfg):
        cfg.hydra.job.num = number
        # The key is known, and computing it again would mean to check all images.
        subdir = cfg.hydra.sweep._get_node("subdir")._value()
        cfg.hydra.sweep.subdir = str(subdir).replace(_KEY, key)
    return Path(cfg.hydra.sweep.dir) / cfg.hydra.sweep.subdir
