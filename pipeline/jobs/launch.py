"""Start a stage: under DVC with the settings that stage configure wrote, or from the command line through Hydra."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pipeline.config import Config, TrackingConfig, compose
from pipeline.config.arguments import check_words
from pipeline.config.help import group_help, run_help
from pipeline.config.texts import quote_literally
from pipeline.data.sources import check_images
from pipeline.jobs.ending import result_lines
from pipeline.jobs.identity import Experiment, experiment_key, read_digests
from pipeline.jobs.job import JobResult, JobStatus, reason, run_job
from pipeline.jobs.launchers import check_installed, one_job_per_gpu, workers
from pipeline.jobs.networks import check_networks
from pipeline.jobs.progress import SweepJob
from pipeline.stages.settings import OUTPUTS, read_config
from pipeline.storage.files import Json, is_writable
from pipeline.system.errors import PipelineError
from pipeline.system.machine import take_share
from pipeline.system.noise import hide_library_messages
from pipeline.system.paths import main_checkout, resolve
from pipeline.system.processes import SWEEP, handlers_installed, install_handlers, interrupted, worker_index
from pipeline.system.terminal import start_logging, waiting
from pipeline.tracking.initial_weights import without_aliases

log = logging.getLogger(__name__)

_SWEEPS = {"-m", "--multirun"}
_HELP = {"--help", "-h"}
_DOES = {
    None: "Run all stages: prepare images, train a new head, fine-tune the backbone, evaluate both on test images, and "
    "write a report.",
    "prepare": "Check the images, find duplicates, and divide them among training, validation and test.",
    "train": "Phase 1, feature extraction: train a new head on the features of a frozen backbone.",
    "finetune": "Phase 2, fine-tuning: train the backbone on, in part or as a whole.",
    "evaluate": "Evaluate the models of both phases on the test images.",
    "report": "Draw the charts and pages of an experiment, and complete its run in MLflow.",
}
_EXAMPLES = (
    "dataset=folder dataset.path=/data/flowers",
    "-m backbone=resnet50,vgg16 finetune.unfreeze=-1,all",
    "finetune=full seed=1 plan=true",
)
# Options with which Hydra prints information and runs no job.
_PRINTS = {"--hydra-help", "--cfg", "-c", "--info", "-i", "--version", "--shell-completion", "-sc"}


def main(stage: str | None, *, repeat: bool = True) -> NoReturn:
    """Run one stage, or all stages (None), as the command line specifies, and exit.

    `--dvc` runs only this stage, with the settings that stage configure wrote, and writes to outputs/. All other
    arguments are passed to Hydra; then earlier stages whose results are missing run first, in the job's folder.

    Args:
        stage: One of `pipeline.stages.STAGES`, or None.
        repeat: Whether a single job whose results are complete is computed again.
    """
    hide_library_messages()
    install_handlers()
    try:
        if not _HELP.isdisjoint(sys.argv[1:]):
            groups = [each for each in sys.argv[1:] if each not in _HELP]
            print(group_help(groups[0]) if groups else run_help(stage, _DOES[stage], _EXAMPLES), end="")
        elif stage and sys.argv[1:] == ["--dvc"]:
            start_logging(main_checkout() / "logs" / f"{stage}.log")
            # MLflow takes seconds to import, and --help does not need it.
            with waiting(stage):
                from pipeline.jobs.stage import execute

            if not execute(stage, Experiment.of(read_config(), OUTPUTS, read_digests())):
                log.warning(
                    "%s: outputs are complete, but the tracking server is unreachable; run `python -m pipeline.sync` "
                    "later to upload them",
                    stage,
                )
        else:
            _start(sys.argv[1:], stage, repeat=repeat)
    except PipelineError as error:
        sys.exit(f"\n{error}")
    except (Exception, KeyboardInterrupt):
        if not interrupted():
            raise
        print("\nInterrupted. Run the same command to resume after the last completed epoch.", file=sys.stderr)
        sys.exit(130)
    sys.exit()


def _start(arguments: Sequence[str], stage: str | None, *, repeat: bool) -> None:
    """Check the configurations of all jobs, and pass the completed command line to Hydra."""
    overrides = [each for each in arguments if compose.is_override(each)]
    options = [each for each in arguments if not compose.is_override(each)]
    check_words(options)
    check_installed(overrides)
    prints = not _PRINTS.isdisjoint(option.split("=")[0] for option in options)
    sweeps = not _SWEEPS.isdisjoint(options)
    key = "hydra.sweep.dir" if sweeps else "hydra.run.dir"
    named = [each.partition("=")[2] for each in overrides if each.startswith(f"{key}=")]
    folder = Path(named[-1].strip("'\"") if named else "runs")
    complete = compose.with_params(overrides)
    if not prints:
        with waiting("checking the configuration"):
            configs = compose.checked_trials(complete)
            if not sweeps:
                compose.check_single(complete)
            # An alias that moves while jobs run must not divide a sweep.
            complete = [_without_aliases(each, configs[0].tracking) for each in complete]
        if "hydra/launcher=ray" not in overrides or not os.environ.get("RAY_ADDRESS"):
            # The folders may be on the machines of the cluster alone.
            _check_images(configs)
        if not sweeps and configs[0].plan:
            _print_plan(stage, configs[0], lambda experiment: folder if named else folder / experiment)
            return
        if not is_writable(folder):
            # Hydra would print a traceback.
            raise PipelineError(f"{key}: {folder.absolute()} is not writable; choose another folder for the results")
        if stage != "prepare" and not configs[0].plan:
            check_networks(compose.network_configurations(complete), job_follows=not sweeps)
        if "${" not in str(folder) and not configs[0].plan:
            _make_folder(key, folder)
    if sweeps:
        complete += one_job_per_gpu(overrides, configs) if not prints else []
        # The overrides are the sweep's name, so repeating the command resumes the sweep. Hydra sets it for every job.
        complete.append(f"+hydra.job.env_set.{SWEEP}={quote_literally(' '.join(overrides))}")
    if "hydra/launcher=ray" in overrides and folder == Path("runs"):
        # A worker on another machine starts in a folder that Ray chooses, so the path has to be absolute.
        complete.append(f"hydra.sweep.dir={quote_literally(str(Path.cwd() / 'runs'))}")
    sys.argv[1:] = [*options, f"hydra.job.name={stage or 'pipeline'}", *complete]
    _register_resolvers()
    job = HydraJob(stage, repeat=repeat)
    hydra.main(version_base="1.3", config_path=str(compose.CONF), config_name="config")(job)()
    if job.error:
        raise job.error


def _without_aliases(override: str, tracking: TrackingConfig) -> str:
    is_weights = override.partition("=")[0].lstrip("+") == "backbone.weights"
    return without_aliases(override, tracking) if is_weights else override


def _make_folder(key: str, folder: Path) -> None:
    """Create the folder of the jobs, since Hydra would print a traceback where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(
            f"{key}: {folder.absolute()} can't be created ({error.strerror}); choose another folder for the results"
        ) from error


def _print_plan(stage: str | None, config: Config, folder_of: Callable[[str], Path]) -> None:
    # Without a plan, these imports are needed later or in another process.
    from pipeline.jobs.plan_table import print_plan
    from pipeline.jobs.planner import Planner

    planner = Planner(stage, sweep=False, remember=False)
    planner.add("", config, folder_of)
    print_plan(planner.plan())


def _check_images(configs: Sequence[Config]) -> None:
    """Check that the images of each distinct data set are there, so that no job of a sweep starts without them."""
    problems = {}
    for dataset in (config.dataset for config in configs):
        key = repr(dataset)
        if key not in problems:
            problems[key] = ""
            try:
                check_images(dataset)
            except PipelineError as error:
                problems[key] = str(error)
    if found := list(filter(None, problems.values())):
        raise PipelineError("\n\n".join(found))


class HydraJob:
    """Function that Hydra calls for each job; it can be pickled, since launchers send it to other processes."""

    def __init__(self, stage: str | None, *, repeat: bool):
        """Create the function that runs all stages up to `stage` (None: all); see `main` for `repeat`."""
        self.stage, self.repeat = stage, repeat
        self.error: Exception | None = None
        """Error of a single job, around which Hydra would print the overrides and a hint for its developers."""
        self.__name__ = "job"

    def __call__(self, cfg: DictConfig) -> Json:
        """Run the job.

        Returns:
            A `JobResult` as a dictionary, also for a failed job, since launchers differ in exceptions.
        """
        hide_library_messages()
        _register_resolvers()
        state = HydraConfig.get()
        sweep, folder = state.mode == RunMode.MULTIRUN, Path(state.runtime.output_dir)
        # Each worker of a distributed training writes its own log.
        worker = f"-worker{worker_index()}" if worker_index() else ""
        place, at_once, started = SweepJob.of_process(), workers(state.launcher), perf_counter()
        prefix = place.prefix if place and at_once != 1 else ""
        start_logging(folder / f"{self.stage or 'pipeline'}{worker}.log", prefix)
        take_share(at_once or 1)
        with handlers_installed():
            try:
                config = compose.from_hydra(cfg)
                if place:
                    log.info(place.start(resolve(config.cache_folder)))
                result = run_job(self.stage, config, folder, sweep=sweep, repeat=self.repeat)
                if not sweep and self.stage in (None, "report") and not worker_index():
                    print("", *result_lines(folder, config.evaluate.confidence), sep="\n")
            except Exception as error:
                if interrupted():
                    raise KeyboardInterrupt from error
                if sweep:
                    expected = isinstance(error, PipelineError)
                    log.error("%s failed: %s", folder, error if expected else reason(error), exc_info=not expected)
                else:
                    self.error = error
                result = JobResult(JobStatus.FAILED, str(folder), "", reason(error))
            if place:
                log.info(place.end(result, perf_counter() - started))
            return asdict(result)


def _register_resolvers() -> None:
    """Register the OmegaConf resolvers that conf/ uses, and the one that names a job's folder."""
    compose.register_resolvers()
    OmegaConf.register_new_resolver("experiment_key", _job_folder, replace=True)


def _job_folder(*, _root_: DictConfig) -> str:
    try:
        return experiment_key(compose.from_hydra(_root_))
    except PipelineError:
        # Hydra needs the folder before the job starts. The job then raises the same error, which Hydra can report.
        return "not-started"
