"""Launcher of a sweep's jobs that tolerates failures and prints a table of results."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from hydra.core.utils import JobReturn
from hydra.core.utils import JobStatus as HydraStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table

from pipeline.jobs.background import Reports
from pipeline.jobs.job import JobResult, JobStatus, reason, record_failure
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE
from pipeline.system.processes import interrupted
from pipeline.system.terminal import table_console

log = logging.getLogger(__name__)

_COLOURS = {JobStatus.DONE: "green", JobStatus.SKIPPED: "dim"}


class Sweep(AbstractContextManager):
    """Launcher that restarts jobs after its workers died; complete jobs are skipped and the others resumed.

    At the end of the `with` block, the results of all jobs are printed, and an error is raised if a job failed.
    """

    def __init__(self, launcher: Launcher, config: DictConfig):
        if os.environ.get("RAY_ADDRESS") and config.hydra.launcher._target_.endswith("RayLauncher"):
            join_ray_cluster()
        self._launcher, self._relaunches = launcher, config.sweep.relaunches
        # Jobs of other launchers run in other processes.
        self._reports = Reports() if config.hydra.launcher._target_.endswith("BasicLauncher") else None
        self._jobs: list[tuple[Sequence[str], JobResult]] = []

    def __enter__(self) -> "Sweep":
        if self._reports:
            self._reports.__enter__()
        return self

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs as a Hydra launcher does; each job returns a `JobResult` as a dictionary."""
        for left in reversed(range(self._relaunches + 1)):
            try:
                returned = self._launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
                break
            except Exception as error:
                if interrupted():
                    raise KeyboardInterrupt from error
                log.warning("The workers of the launcher died: %s", reason(error))
                if not left:
                    returned = [_cut_off(overrides, error) for overrides in job_overrides]
        for each in returned:
            self._jobs.append((each.overrides or [], _result(each)))
        return returned

    def _with_report(self, result: JobResult) -> JobResult:
        """Return the result of a job, which has failed if its report has."""
        error = self._reports.failure(Path(result.folder)) if self._reports else None
        return record_failure(result, error) if error else result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._reports:
            self._reports.__exit__(kind, error, traceback)
            self._jobs = [(overrides, self._with_report(result)) for overrides, result in self._jobs]
        if self._jobs:
            table_console(sys.stderr).print(_table(self._jobs))
        failed = sum(result.status.failed for _, result in self._jobs)
        if failed and kind is None:
            raise PipelineError(f"{failed} of {len(self._jobs)} jobs failed; see the logs in their folders")


def join_ray_cluster() -> None:
    """Connect to the Ray cluster at RAY_ADDRESS, and pass on the package path and the address of the tracking store.

    Hydra's launcher uses the existing connection. Its own connection would pass a memory size, which Ray rejects for a
    running cluster. Passwords are not passed on, because Ray displays the environment of jobs: set them on each node.
    """
    import ray

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    environment = {"PYTHONPATH": str(CODE)}
    if uri and not urlsplit(uri).password:
        environment["MLFLOW_TRACKING_URI"] = uri
    if not ray.is_initialized():
        ray.init(runtime_env={"env_vars": environment})


def _cut_off(overrides: Sequence[str], error: Exception) -> JobReturn:
    result = JobResult(JobStatus.CUT_OFF, "", "", f"the worker of the job died: {reason(error)}")
    return JobReturn(overrides=list(overrides), status=HydraStatus.COMPLETED, _return_value=asdict(result))


def _result(returned: JobReturn) -> JobResult:
    if returned.status == HydraStatus.COMPLETED:
        return JobResult.from_dict(returned.return_value)
    # Hydra could not compose the configuration of the job.
    return JobResult(JobStatus.FAILED, "", "", reason(returned._return_value))


def _table(jobs: list[tuple[Sequence[str], JobResult]]) -> Table:
    """Build a table with one row per job: its distinguishing overrides, status, experiment and reason."""
    common = set.intersection(*(set(overrides) for overrides, _ in jobs)) if len(jobs) > 1 else set()
    table = Table("job", "", "experiment", "reason", title="The sweep's jobs", title_justify="left", box=None)
    for overrides, result in jobs:
        own = " ".join(each for each in overrides if each not in common and not each.startswith(("hydra.", "+hydra.")))
        status = f"[{_COLOURS.get(result.status, 'red')}]{result.status}[/]"
        table.add_row(escape(own), status, result.key, escape(result.reason))
    counts = Counter(result.status for _, result in jobs)
    table.caption = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return table
