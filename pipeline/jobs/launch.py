"""Start a stage: for DVC, on the settings that stage configure wrote, or for a person, through Hydra."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
from pipeline.storage.files import Json, is_writable
from pipeline.system.errors import PipelineError
from pipeline.system.machine import take_share
from pipeline.system.paths import main_checkout
from pipeline.system.processes import SWEEP, worker_index
from pipeline.system.signals import handlers_installed, install_handlers, interrupted
from pipeline.system.terminal import start_logging

log = logging.getLogger(__name__)

_SWEEPS = {"-m", "--multirun"}
# Options with which Hydra only prints something.
_PRINTS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--version", "--shell-completion", "-sc"}
# What needs more than the usual installation: a module, and the extra that brings it.
_EXTRAS = {
    "hydra/launcher=joblib": ("hydra_plugins.hydra_joblib_launcher", "parallel"),
    "hydra/launcher=ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "hydra/launcher=submitit_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/sweeper=optuna": ("optuna", "optuna"),
}


def main(stage: str | None) -> NoReturn:
    """Run one stage, or all of them (None), as the command line says, and end the process.

    `--dvc` runs this stage alone on the settings that stage configure wrote, into outputs/. Otherwise the arguments
    are Hydra's; a stage then brings its inputs up to date first, in the job's own folder.
    """
    install_handlers()
    try:
        if stage and sys.argv[1:] == ["--dvc"]:
            _run_for_dvc(stage)
        else:
            _start(HydraCommand.from_arguments(sys.argv[1:]), stage)
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


@dataclass(frozen=True)
class HydraCommand:
    """A command line for Hydra, divided."""

    options: tuple[str, ...]
    """Such as -m or --cfg, with their values."""
    overrides: tuple[str, ...]
    """As they were typed: key=value, +key=value, ~key."""

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> "HydraCommand":
        """Divide the arguments that follow a command."""
        options = tuple(each for each in arguments if not is_override(each))
        return cls(options, tuple(each for each in arguments if is_override(each)))

    @property
    def is_sweep(self) -> bool:
        """Several jobs, not one."""
        return bool(_SWEEPS & set(self.options))

    @property
    def prints_only(self) -> bool:
        """Nothing runs: Hydra shows its help or the configuration."""
        return bool(_PRINTS & {option.split("=")[0] for option in self.options})

    @property
    def folder_option(self) -> str:
        """The setting that names the folder of the jobs."""
        return f"hydra.{'sweep' if self.is_sweep else 'run'}.dir"

    @property
    def folder(self) -> Path:
        """Folder in which the jobs' folders are created."""
        named = [each.partition("=")[2] for each in self.overrides if each.startswith(f"{self.folder_option}=")]
        return Path(named[-1].strip("'\"") if named else "runs")

    def launch_overrides(self) -> list[str]:
        """Overrides that this process adds for its jobs."""
        added = []
        if self.is_sweep:
            # The same command again is the same sweep; Hydra carries its name to every job, on other machines too.
            added.append(f"+hydra.job.env_set.{SWEEP}={quote_literally(' '.join(self.overrides))}")
        if "hydra/launcher=ray" in self.overrides and self.folder == Path("runs"):
            # A worker on another machine starts in a folder of Ray's.
            added.append(f"hydra.sweep.dir={quote_literally(str(Path.cwd() / 'runs'))}")
        return added


def _start(command: HydraCommand, stage: str | None) -> None:
    _check_extras(command)
    overrides = with_params(list(command.overrides))
    if not command.prints_only:
        check_choices(overrides)
        _check_folder(command)
    name = f"hydra.job.name={stage or 'pipeline'}"
    sys.argv[1:] = [*command.options, name, *overrides, *command.launch_overrides()]
    _register_resolvers()
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(HydraJob(stage))()


def _check_extras(command: HydraCommand) -> None:
    for override in command.overrides:
        module, extra = _EXTRAS.get(override, ("hydra", ""))
        if find_spec(module) is None:
            raise PipelineError(f'{override} is not installed: pip install ".[{extra}]"')


def _check_folder(command: HydraCommand) -> None:
    """Raise an error where the jobs' folders can't be created; Hydra would show a traceback."""
    if not is_writable(command.folder):
        place = command.folder.absolute()
        raise PipelineError(f"{command.folder_option}: {place} is not writable; name another folder for the results")


class HydraJob:
    """A job as Hydra calls it; launchers send it to other processes."""

    def __init__(self, stage: str | None):
        """`stage`: the last one to run; None: all."""
        self.stage = stage
        self.__name__ = "job"

    def __call__(self, cfg: DictConfig) -> Json:
        """Run the job.

        Returns:
            a `JobResult` as a dictionary; in a sweep also of a job that failed, since launchers differ in exceptions.
        """
        _register_resolvers()
        state = HydraConfig.get()
        sweep, folder = state.mode == RunMode.MULTIRUN, Path(state.runtime.output_dir)
        with _job_environment(folder, self.stage or "pipeline", state.launcher):
            try:
                return asdict(run_job(self.stage, from_hydra(cfg), folder, sweep=sweep))
            except Exception as error:
                if interrupted():
                    raise KeyboardInterrupt from error
                if not sweep:
                    raise
                log.error("%s failed: %s", folder, reason(error), exc_info=not isinstance(error, PipelineError))
                return asdict(JobResult(JobStatus.FAILED, str(folder), "", reason(error)))


@contextmanager
def _job_environment(folder: Path, name: str, launcher: DictConfig) -> Iterator[None]:
    """A job's own log, share of the machine, and signal handlers."""
    # Each of the processes that train together has a log of its own.
    worker = f"-worker{worker_index()}" if worker_index() else ""
    start_logging(folder / f"{name}{worker}.log")
    take_share(jobs_at_once(launcher))
    with handlers_installed():
        yield


def _register_resolvers() -> None:
    """Register the functions that conf/ calls, and the one that names a job's folder."""
    register_resolvers()
    OmegaConf.register_new_resolver("experiment_key", _job_folder, replace=True)


def _job_folder(*, _root_: DictConfig) -> str:
    try:
        return experiment_key(from_hydra(_root_))
    except PipelineError:
        # Hydra needs the folder before the job begins; the job then raises the same error where Hydra can report it.
        return "not-started"


def jobs_at_once(launcher: DictConfig) -> int:
    """Number of jobs that a launcher runs at once on a machine that they divide among themselves."""
    count = int(launcher.get("n_jobs", 1))
    # As joblib counts: -1 is one for each core.
    return count if count > 0 else max(1, (os.cpu_count() or 1) + 1 + count)
