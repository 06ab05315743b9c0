"""How a stage is started: by DVC, on the resolved configuration, or by a person, through Hydra."""

import logging
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pipeline.config.compose import (
    CONF,
    check_choices,
    from_hydra,
    is_override,
    quote_literally,
    register_resolvers,
    with_params,
)
from pipeline.jobs.identity import experiment_key
from pipeline.jobs.job import JobResult, JobStatus, reason, run_job
from pipeline.jobs.resolved import OUTPUTS, read_config, read_digests
from pipeline.storage.files import is_writable
from pipeline.system.environment import SWEEP, worker_index
from pipeline.system.errors import PipelineError
from pipeline.system.machine import take_share
from pipeline.system.paths import main_checkout
from pipeline.system.signals import handlers_installed, install_handlers, interrupted
from pipeline.system.terminal import start_logging

log = logging.getLogger(__name__)


def main(stage: str | None) -> NoReturn:
    """Run one stage, or all of them (None), as the command line says, and end the process.

    `--dvc` runs this stage alone on the settings that stage configure wrote, into outputs/. Otherwise the arguments are Hydra's; a stage then
    brings its inputs up to date first, in the job's own folder.
    """
    install_handlers()
    try:
        if stage and sys.argv[1:] == ["--dvc"]:
            _run_for_dvc(stage)
        else:
            _through_hydra(stage)
    except PipelineError as error:
        sys.exit(f"\n{error}")
    except (Exception, KeyboardInterrupt):
        if not interrupted():
            raise
        print("\nInterrupted. Run the same command to resume after the last completed epoch.", file=sys.stderr)
        sys.exit(130)
    sys.exit()


def _run_for_dvc(stage: str) -> None:
    start_logging(main_checkout() / "logs" / f"{stage}.log")
    # MLflow takes seconds to import, and --help needs none of it.
    from pipeline.jobs.stage import Experiment, execute

    if not execute(stage, Experiment.of(read_config(), OUTPUTS, read_digests())):
        log.warning("%s: outputs are complete; `python -m pipeline.sync` uploads them when the server is back", stage)


def _through_hydra(stage: str | None) -> None:
    options = [argument for argument in sys.argv[1:] if not is_override(argument)]
    given = [argument for argument in sys.argv[1:] if is_override(argument)]
    _check_extras(given)
    overrides = with_params(given)
    asks = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--version", "--shell-completion", "-sc"}
    asked = asks & {option.split("=")[0] for option in options}
    if not asked:
        check_choices(overrides)
    if {"-m", "--multirun"} & set(options):
        # The same command again is the same sweep; Hydra carries its name to every job, on other machines too.
        overrides.append(f"+hydra.job.env_set.{SWEEP}={quote_literally(' '.join(given))}")
    if "hydra/launcher=ray" in given and not any(each.startswith("hydra.sweep.dir=") for each in given):
        # A worker on another machine starts in a folder of Ray's.
        overrides.append(f"hydra.sweep.dir={quote_literally(str(Path.cwd() / 'runs'))}")
    if not asked:
        _check_place(given, "sweep" if {"-m", "--multirun"} & set(options) else "run")
    sys.argv[1:] = [*options, f"hydra.job.name={stage or 'pipeline'}", *overrides]
    _register_resolvers()
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_Job(stage))()


# What a choice takes that is not installed with the rest: a module, and the extra that brings it.
_EXTRAS = {
    "hydra/launcher=joblib": ("hydra_plugins.hydra_joblib_launcher", "parallel"),
    "hydra/launcher=ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "hydra/launcher=submitit_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/sweeper=optuna": ("optuna", "optuna"),
}


def _check_extras(given: list[str]) -> None:
    for override in given:
        module, extra = _EXTRAS.get(override, ("hydra", ""))
        if find_spec(module) is None:
            raise PipelineError(f'{override} is not installed: pip install ".[{extra}]"')


def _check_place(given: list[str], mode: str) -> None:
    """Jobs' folders are made by Hydra, which has no sentence for one that can't be."""
    option = f"hydra.{mode}.dir"
    told = [each.partition("=")[2] for each in given if each.startswith(f"{option}=")]
    place = Path(told[-1].strip("'\"") if told else "runs")
    if not is_writable(place):
        raise PipelineError(
            f"{option}: {place.absolute()} can't be written to; name another folder for what is computed"
        )


class _Job:
    """A job of Hydra's, which other processes can be sent."""

    def __init__(self, stage: str | None):
        self.stage = stage
        self.__name__ = "job"

    def __call__(self, cfg: DictConfig) -> dict[str, str]:
        """Run the job; in a sweep a failure is an answer, not an exception, since each launcher treats those in its own way."""
        _register_resolvers()
        state = HydraConfig.get()
        sweep, folder = state.mode == RunMode.MULTIRUN, Path(state.runtime.output_dir)
        # Of several processes that train together each has a log of its own.
        worker = f"-worker{worker_index()}" if worker_index() else ""
        start_logging(folder / f"{self.stage or 'pipeline'}{worker}.log")
        take_share(workers_here(state.launcher))
        with handlers_installed():
            try:
                return asdict(run_job(self.stage, from_hydra(cfg), folder, sweep=sweep))
            except Exception as error:
                if interrupted():
                    raise KeyboardInterrupt from error
                if not sweep:
                    raise
                log.error("%s failed: %s", folder, reason(error), exc_info=not isinstance(error, PipelineError))
                return asdict(JobResult(JobStatus.FAILED, str(folder), "", reason(error)))


def _register_resolvers() -> None:
    """The functions that conf/ calls, and the one that names a job's folder."""
    register_resolvers()
    OmegaConf.register_new_resolver("experiment_key", _job_folder, replace=True)


def _job_folder(*, _root_: DictConfig) -> str:
    try:
        return experiment_key(from_hydra(_root_))
    except PipelineError:
        # Hydra asks for the folder before the job begins; the job then raises the same error where Hydra can report it.
        return "not-started"


def workers_here(launcher: DictConfig) -> int:
    """How many jobs a launcher runs at once on the machine of a job that shares it out itself."""
    wanted = launcher.get("n_jobs", 1)
    # As joblib counts: -1 is one for each core.
    return wanted if wanted > 0 else max(1, os.cpu_count() + 1 + wanted)
