"""A job of a sweep: what is there is looked at before it runs, and how it ended is written into its folder."""

import logging
import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from pipeline.config import Config
from pipeline.jobs.identity import experiment_key
from pipeline.jobs.pipeline import is_complete, run_through
from pipeline.jobs.trial import PrunedError, figures
from pipeline.storage.files import read_json, write_json
from pipeline.system.environment import VARIABLE, worker_index
from pipeline.system.errors import PipelineError
from pipeline.tracking import mark_dead

log = logging.getLogger(__name__)

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """How a job ended, as `outcome.json` in its folder says it to other commands and machines."""

    status: str
    """begun: it runs, or was cut off; done; skipped: it was complete; failed; failed before: it is not tried again unless that is asked for; pruned: its search ended it."""
    reason: str
    """In a sentence, where there is one."""
    folder: str
    key: str
    """The experiment's."""
    figures: dict[str, float] = field(default_factory=dict)
    """What searches look at, where it has trained."""

    @property
    def failed(self) -> bool:
        return self.status not in ("done", "skipped", "pruned")


def run_job(stage: str | None, config: Config, folder: Path, sweep: bool) -> Outcome:
    """Run the stages up to `stage` (None: all) in a job's folder, unless it is complete, or has failed and is not to be tried again.

    Raises:
        Exception: why it failed; that is written down first.
    """
    if sweep and config.hardware.strategy == "multi_worker":
        raise PipelineError("hardware.strategy: multi_worker is not allowed with -m; run its jobs one after the other")
    # What a process that is at work there has begun was not cut off: it is waited for. Workers of one training share their folder.
    with nullcontext() if worker_index() else FileLock(f"{folder}.lock", is_singleton=True):
        return _run(stage, config, folder, sweep)


def _run(stage: str | None, config: Config, folder: Path, sweep: bool) -> Outcome:
    key = experiment_key(config)
    before = _read(folder)
    if before and before.key != key:
        before = None
    cut_off = before is not None and before.status == "begun"
    if cut_off:
        # Perhaps after the last stage, and then nothing is left to do but this.
        mark_dead(config.tracking)
    if sweep:
        if is_complete(stage, folder, key):
            _write(Outcome("done", "", str(folder), key, figures(folder)))
            return Outcome("skipped", "complete", str(folder), key, figures(folder))
        if before and before.status == "pruned" and VARIABLE in os.environ:
            return before
        if before and before.status == "failed" and not config.sweep.retry_failed:
            return Outcome("failed before", f"{before.reason}; sweep.retry_failed=true tries again", str(folder), key)
    _write(Outcome("begun", "", str(folder), key))
    try:
        run_through(stage, config, folder, sweep or cut_off, key)
    except PrunedError as error:
        outcome = Outcome("pruned", str(error), str(folder), key)
    except Exception as error:
        if not getattr(error, "passes", False):
            _write(Outcome("failed", reason(error), str(folder), key))
        raise
    else:
        outcome = Outcome("done", "", str(folder), key, figures(folder))
    _write(outcome)
    return outcome


def reason(error: BaseException) -> str:
    """Why a job failed, in a line."""
    told = " ".join(str(error).split())
    return told if isinstance(error, PipelineError) else f"{type(error).__name__}: {told}"


def _write(outcome: Outcome) -> None:
    if worker_index():
        # The chief of a training's workers says it.
        return
    try:
        write_json(Path(outcome.folder) / OUTCOME, asdict(outcome))
    except OSError as error:
        log.warning("How the job ended can't be written to %s: %s", outcome.folder, error)


def _read(folder: Path) -> Outcome | None:
    try:
        return Outcome(**read_json(folder / OUTCOME))
    except (OSError, ValueError, TypeError):
        return None
