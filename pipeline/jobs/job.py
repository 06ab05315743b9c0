"""A job: check what its folder holds, run it, and write down how it ended."""

import logging
import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from pipeline.config import Config
from pipeline.storage.files import Json, read_json, write_json
from pipeline.system.errors import PipelineError
from pipeline.system.processes import TRIAL, worker_index

log = logging.getLogger(__name__)

OUTCOME = "outcome.json"


class JobStatus(StrEnum):
    """State in which a job ended."""

    BEGUN = "begun"
    """It runs, or was cut off."""
    DONE = "done"
    SKIPPED = "skipped"
    """It was complete before."""
    FAILED = "failed"
    FAILED_BEFORE = "failed before"
    """It is not tried again without `sweep.retry_failed`."""
    CUT_OFF = "cut off"
    """Its worker died."""
    PRUNED = "pruned"
    """Its search ended it."""

    @property
    def failed(self) -> bool:
        """Neither complete nor pruned."""
        return self not in (JobStatus.DONE, JobStatus.SKIPPED, JobStatus.PRUNED)


@dataclass(frozen=True)
class JobResult:
    """Outcome of a job; `outcome.json` in its folder holds it for other commands and machines."""

    status: JobStatus
    folder: str
    key: str
    """The experiment's."""
    reason: str = ""
    """In one sentence; empty where the status says all."""
    figures: dict[str, float] = field(default_factory=dict)
    """The objectives of searches, once it has trained; see `pipeline.jobs.trial.OBJECTIVES`."""

    @classmethod
    def from_dict(cls, content: Json) -> "JobResult":
        """The inverse of `dataclasses.asdict`; raises ValueError, TypeError or KeyError for other content."""
        return cls(**content | {"status": JobStatus(content["status"])})


def run_job(stage: str | None, config: Config, folder: Path, *, sweep: bool) -> JobResult:
    """Run the stages up to `stage` (None: all) in a job's folder.

    In a sweep, a job that is complete, or has failed before, is not run again (see `sweep.retry_failed`).

    Raises:
        Exception: the reason of a failure, which is in outcome.json by then.
    """
    if sweep and config.hardware.strategy == "multi_worker":
        raise PipelineError("hardware.strategy: multi_worker is not allowed with -m; run its jobs one after the other")
    # Wait for a process that is already working in this folder. Workers of one training share it.
    with nullcontext() if worker_index() else FileLock(f"{folder}.lock", is_singleton=True):
        return _run(stage, config, folder, sweep=sweep)


def _run(stage: str | None, config: Config, folder: Path, *, sweep: bool) -> JobResult:
    # MLflow takes seconds to import, and --help needs none of it.
    from pipeline.jobs.pipeline import is_complete, run_through
    from pipeline.jobs.stage import Experiment
    from pipeline.jobs.trial import PrunedError, figures
    from pipeline.tracking import mark_dead_runs

    # Once, so that images which arrive meanwhile do not make it two experiments.
    experiment = Experiment.of(config, folder)
    key, place = experiment.key, str(folder)
    before = _read(folder)
    if before and before.key != key:
        before = None
    cut_off = before is not None and before.status == JobStatus.BEGUN
    if cut_off:
        # Perhaps after the last stage: then nothing else is left to do.
        mark_dead_runs(config.tracking)
    if sweep:
        if is_complete(stage, experiment):
            _write(JobResult(JobStatus.DONE, place, key, figures=figures(folder)))
            return JobResult(JobStatus.SKIPPED, place, key, "complete", figures(folder))
        if before and before.status == JobStatus.PRUNED and TRIAL in os.environ:
            return before
        if before and before.status == JobStatus.FAILED and not config.sweep.retry_failed:
            retry = f"{before.reason}; sweep.retry_failed=true tries again"
            return JobResult(JobStatus.FAILED_BEFORE, place, key, retry)
    _write(JobResult(JobStatus.BEGUN, place, key))
    try:
        run_through(stage, experiment, repeat=not sweep and not cut_off)
    except PrunedError as error:
        result = JobResult(JobStatus.PRUNED, place, key, str(error))
    except Exception as error:
        if not getattr(error, "passes", False):
            _write(JobResult(JobStatus.FAILED, place, key, reason(error)))
        raise
    else:
        result = JobResult(JobStatus.DONE, place, key, figures=figures(folder))
    _write(result)
    return result


def reason(error: BaseException) -> str:
    """The reason of a job's failure, in one line."""
    message = " ".join(str(error).split())
    return message if isinstance(error, PipelineError) else f"{type(error).__name__}: {message}"


def _write(result: JobResult) -> None:
    if worker_index():
        # Of workers that train together, the chief writes it.
        return
    try:
        write_json(Path(result.folder) / OUTCOME, asdict(result))
    except OSError as error:
        log.warning("%s: outcome.json could not be written: %s", result.folder, error)


def _read(folder: Path) -> JobResult | None:
    try:
        return JobResult.from_dict(read_json(folder / OUTCOME))
    except (OSError, ValueError, TypeError, KeyError):
        return None
