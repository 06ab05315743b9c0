"""Run a job: check the earlier results in its folder, run its stages, and record its outcome."""

import logging
import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from pipeline.config import PHASES, Config
from pipeline.jobs.identity import Experiment
from pipeline.storage.files import Json, read_json, write_json
from pipeline.system.errors import PipelineError, PrunedError
from pipeline.system.processes import TRIAL, worker_index
from pipeline.system.terminal import waiting

log = logging.getLogger(__name__)

OBJECTIVES = {"val_accuracy": "maximize", "val_loss": "minimize", "seconds": "minimize"}
"""Objectives of a search, and the direction in which each is optimized."""
_OUTCOME = "outcome.json"


class JobStatus(StrEnum):
    """Status of a job."""

    BEGUN = "begun"
    """The job is running, or was interrupted."""
    DONE = "done"
    SKIPPED = "skipped"
    """The job was complete before, and was not run again."""
    FAILED = "failed"
    FAILED_BEFORE = "failed before"
    """The job failed in an earlier run, and was not run again, since `sweep.retry_failed` is false."""
    CUT_OFF = "cut off"
    """The worker process of the job died."""
    PRUNED = "pruned"
    """The search stopped the job early."""

    @property
    def failed(self) -> bool:
        """Return whether the job is neither complete nor pruned."""
        return self not in (JobStatus.DONE, JobStatus.SKIPPED, JobStatus.PRUNED)


@dataclass(frozen=True)
class JobResult:
    """Outcome of a job, stored in outcome.json in the job's folder for other commands and machines."""

    status: JobStatus
    folder: str
    key: str
    """Key of the experiment."""
    reason: str = ""
    """Reason for the status in one sentence; empty if the status needs no explanation."""
    figures: dict[str, float] = field(default_factory=dict)
    """Value of each objective in `OBJECTIVES`; empty before a training has finished."""

    @classmethod
    def from_dict(cls, content: Json) -> "JobResult":
        """Create a result from the output of `dataclasses.asdict`.

        Raises:
            ValueError, TypeError, KeyError: The content is not that of a result.
        """
        return cls(**content | {"status": JobStatus(content["status"])})


def run_job(stage: str | None, config: Config, folder: Path, *, sweep: bool, repeat: bool = True) -> JobResult:
    """Run the stages up to `stage` (None: all) in a job's folder.

    A sweep skips jobs that are complete, and jobs that failed before unless `sweep.retry_failed` is true. A single job
    that is complete is computed again if `repeat` is true.

    Raises:
        Exception: A stage failed; the reason is recorded in outcome.json.
    """
    if sweep and config.hardware.strategy == "multi_worker":
        raise PipelineError(
            "hardware.strategy: multi_worker can't be used with -m; start one job at a time, without -m"
        )
    # Wait until no other process works in this folder. The workers of one distributed training share it.
    with nullcontext() if worker_index() else FileLock(f"{folder}.lock", is_singleton=True):
        return _run(stage, config, folder, sweep=sweep, repeat=repeat)


def _run(stage: str | None, config: Config, folder: Path, *, sweep: bool, repeat: bool) -> JobResult:
    # MLflow takes seconds to import, and --help does not need it.
    with waiting("loading MLflow"):
        from pipeline.jobs.run_stages import is_complete, run_through
        from pipeline.tracking.run_finder import mark_dead_runs

    # The digests are computed once: images that are added during the job must not change its experiment.
    experiment = Experiment.of(config, folder)
    begun = JobResult(JobStatus.BEGUN, str(folder), experiment.key)
    before = read_outcome(folder, experiment.key)
    cut_off = before is not None and before.status == JobStatus.BEGUN
    if cut_off:
        # Stages mark dead runs too, but no stage runs if the job was interrupted after its last one.
        mark_dead_runs(config.tracking)
    if sweep:
        if is_complete(stage, experiment):
            done = replace(begun, status=JobStatus.DONE, figures=_figures(folder))
            _write(done)
            return replace(done, status=JobStatus.SKIPPED, reason="complete")
        if before and before.status == JobStatus.PRUNED and TRIAL in os.environ:
            return before
        if before and before.status == JobStatus.FAILED and not config.sweep.retry_failed:
            retry = f"{before.reason}; set sweep.retry_failed=true to run it again"
            return replace(begun, status=JobStatus.FAILED_BEFORE, reason=retry)
    _write(begun)
    try:
        run_through(stage, experiment, repeat=repeat and not sweep and not cut_off)
    except PrunedError as error:
        result = replace(begun, status=JobStatus.PRUNED, reason=str(error))
    except Exception as error:
        record_failure(begun, error)
        raise
    else:
        result = replace(begun, status=JobStatus.DONE, figures=_figures(folder))
    _write(result)
    return result


def record_failure(result: JobResult, error: Exception) -> JobResult:
    """Return the result of a job that an error ended, and record it unless a repetition may succeed."""
    failed = replace(result, status=JobStatus.FAILED, reason=reason(error))
    if not getattr(error, "passes", False):
        _write(failed)
    return failed


def reason(error: BaseException) -> str:
    """Return the reason of a job's failure in one line."""
    message = " ".join(str(error).split())
    return message if isinstance(error, PipelineError) else f"{type(error).__name__}: {message}"


def _write(result: JobResult) -> None:
    if worker_index():
        # In a distributed training, only the chief writes the outcome.
        return
    try:
        write_json(Path(result.folder) / _OUTCOME, asdict(result))
    except OSError as error:
        log.warning("%s: outcome.json could not be written: %s", result.folder, error)


def read_outcome(folder: Path, key: str) -> JobResult | None:
    """Return the outcome of the last job in a folder; None if there is none or it is from another experiment."""
    try:
        result = JobResult.from_dict(read_json(folder / _OUTCOME))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return result if result.key == key else None


def _figures(folder: Path) -> dict[str, float]:
    """Return the objectives of a trained job: metrics of its better phase, and seconds of training in all phases."""
    phases = [folder / phase for phase in PHASES if (folder / phase / "metrics.json").exists()]
    if not phases:
        return {}
    last = read_json(phases[-1] / "metrics.json")
    best = read_json(folder / last.get("best", phases[-1].name) / "metrics.json")
    seconds = sum(read_json(phase / "run.json")["seconds"] for phase in phases)
    return {"val_accuracy": best["val_accuracy"], "val_loss": best["val_loss"], "seconds": seconds}
