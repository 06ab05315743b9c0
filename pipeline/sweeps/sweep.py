"""Launcher of a sweep's jobs that numbers them, tolerates failures, and prints a summary of results."""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from hydra.core.utils import JobReturn
from hydra.core.utils import JobStatus as HydraStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from pipeline.config.texts import quote_literally
from pipeline.jobs.background import Reports
from pipeline.jobs.job import JobResult, JobStatus, reason, record_failure
from pipeline.jobs.plan import Plan
from pipeline.jobs.progress import SweepJob
from pipeline.sweeps.summary import EndedJob, print_summary
from pipeline.system.paths import CODE
from pipeline.system.processes import JOB, PARENT, interrupted
from pipeline.system.terminal import waiting

log = logging.getLogger(__name__)


class Sweep(AbstractContextManager):
    """Launcher that restarts jobs after its workers died; complete jobs are skipped and the others resumed.

    At the end of the `with` block, a summary of all jobs is printed. The process exits with status 1 if a job failed.
    """

    def __init__(self, launcher: Launcher, config: DictConfig, plan: Plan | None = None):
        """Create the launcher.

        Args:
            launcher: Hydra's launcher, which runs the jobs.
            config: Configuration of the sweep.
            plan: Plan of all jobs; None if they are not known before the start.
        """
        if os.environ.get("RAY_ADDRESS") and config.hydra.launcher._target_.endswith("RayLauncher"):
            join_ray_cluster()
        self._launcher, self._relaunches = launcher, config.sweep.relaunches
        self._config, self._plan = config, plan
        # Jobs of other launchers run in other processes.
        self._reports = Reports() if config.hydra.launcher._target_.endswith("BasicLauncher") else None
        self._jobs: list[EndedJob] = []
        with waiting("loading MLflow"):
            # It takes seconds to import, and a plan does not need it.
            from pipeline.sweeps.parent import open_parent

            self.parent = open_parent(config)

    def __enter__(self) -> "Sweep":
        if self._reports:
            self._reports.__enter__()
        return self

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int, labels: Sequence[str] | None = None
    ) -> Sequence[JobReturn]:
        """Run jobs as a Hydra launcher does; each job returns a `JobResult` as a dictionary.

        Args:
            job_overrides: Overrides of each job.
            initial_job_idx: Number of the first job, from 0.
            labels: Settings by which each job differs from the others; None: those of the plan.
        """
        numbers = range(initial_job_idx + 1, initial_job_idx + 1 + len(job_overrides))
        places = [self._place(number, labels[index] if labels else None) for index, number in enumerate(numbers)]
        parent = [f"+hydra.job.env_set.{PARENT}={quote_literally(self.parent.id)}"] if self.parent.id else []
        job_overrides = [
            [*overrides, *parent, f"+hydra.job.env_set.{JOB}={quote_literally(place.as_json())}"]
            for overrides, place in zip(job_overrides, places, strict=True)
        ]
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
        for place, each in zip(places, returned, strict=True):
            name = f"{place.name} ({place.label})" if place.label else place.name
            self._jobs.append(EndedJob(name, _result(each)))
        return returned

    def _with_report(self, result: JobResult) -> JobResult:
        """Return the result of a job, which has failed if its report has."""
        error = self._reports.failure(Path(result.folder)) if self._reports else None
        return record_failure(result, error) if error else result

    def _place(self, number: int, label: str | None) -> SweepJob:
        if self._plan is None:
            return SweepJob(number, None, label or "", [], None)
        jobs = self._plan.jobs
        return SweepJob(number, len(jobs), jobs[number - 1].label, self._plan.work_from(number), self._plan.workers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from pipeline.sweeps.parent import log_results

        failed = 1
        try:
            if self._reports:
                with waiting("drawing the last reports"):
                    self._reports.__exit__(kind, error, traceback)
                self._jobs = [replace(job, result=self._with_report(job.result)) for job in self._jobs]
            if self._jobs:
                comparison = print_summary(self._jobs, self._config)
                with waiting("logging the results of the sweep"):
                    log_results(self.parent, self._jobs, comparison)
            failed = sum(job.result.status.failed for job in self._jobs)
        finally:
            killed = interrupted() or isinstance(error, KeyboardInterrupt)
            self.parent.end("KILLED" if killed else "FAILED" if failed or kind else "FINISHED")
        if failed and kind is None:
            # Hydra would add advice to an error that concerns its own code.
            sys.exit(
                f"{failed} of {len(self._jobs)} jobs failed; see the logs in their folders. The same command with "
                "sweep.retry_failed=true runs them again"
            )


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
