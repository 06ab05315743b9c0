"""A job: check what its folder holds, run it, and write down how it ended."""

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

log = logging.getLogger(__name__)

OBJECTIVES = {"val_accuracy": "maximize", "val_loss": "minimize", "seconds": "minimize"}
"""Objectives of a search, and the better direction of each."""
_OUTCOME = "outcome.json"


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
    """The objectives of searches, once it has trained; see `OBJECTIVES`."""

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
    from pipeline.tracking.run_finder import mark_dead_runs

    # Once, so that images which arrive meanwhile do not make it two experiments.
    experiment = Experiment.of(config, folder)
    begun = JobResult(JobStatus.BEGUN, str(folder), experiment.key)
    before = _read(folder, experiment.key)
    cut_off = before is not None and before.status == JobStatus.BEGUN
    if cut_off:
        # Perhaps after the last stage: then nothing else is left to do.
        mark_dead_runs(config.tracking)
    if sweep:
        if is_complete(stage, experiment):
            done = replace(begun, status=JobStatus.DONE, figures=_figures(folder))
            _write(done)
            return replace(done, status=JobStatus.SKIPPED, reason="complete")
        if before and before.status == JobStatus.PRUNED and TRIAL in os.environ:
            return before
        if before and before.status == JobStatus.FAILED and not config.sweep.retry_failed:
            retry = f"{before.reason}; sweep.retry_failed=true tries again"
            return replace(begun, status=JobStatus.FAILED_BEFORE, reason=retry)
    _write(begun)
    try:
        run_through(stage, experiment, repeat=not sweep and not cut_off)
    except PrunedError as error:
        result = replace(begun, status=JobStatus.PRUNED, reason=str(error))
    except Exception as error:
        if not getattr(error, "passes", False):
            _write(replace(begun, status=JobStatus.FAILED, reason=reason(error)))
        raise
    else:
        result = replace(begun, status=JobStatus.DONE, figures=_figures(folder))
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
        write_json(Path(result.folder) / _OUTCOME, asdict(result))
    except OSError as error:
        log.warning("%s: outcome.json could not be written: %s", result.folder, error)


def _read(folder: Path, key: str) -> JobResult | None:
    """Outcome of the last job in a folder; None where there was none, or one of another experiment."""
    try:
        result = JobResult.from_dict(read_json(folder / _OUTCOME))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return result if result.key == key else None


def _figures(folder: Path) -> dict[str, float]:
    """The objectives of a job that has trained: figures of its better phase, and the seconds of all training."""
    phases = [folder / phase for phase in PHASES if (folder / phase / "metrics.json").exists()]
    if not phases:
        return {}
    last = read_json(phases[-1] / "metrics.json")
    best = read_json(folder / last.get("best", phases[-1].name) / "metrics.json")
    seconds = sum(read_json(phase / "run.json")["seconds"] for phase in phases)
    return {"val_accuracy": best["val_accuracy"], "val_loss": best["val_loss"], "seconds": seconds}
