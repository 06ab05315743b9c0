"""Progress of a sweep, reported by each job: its number and settings, the time left, and its result."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.jobs.job import JobResult, JobStatus
from pipeline.jobs.work import earlier_results, estimated_seconds
from pipeline.storage.files import Json, read_json
from pipeline.system.processes import JOB
from pipeline.system.terminal import duration

# Longer settings are cut in the prefix of log messages.
_LONGEST = 40


@dataclass(frozen=True)
class SweepJob:
    """Place of a job in its sweep; the sweep passes it to the job's process as JSON."""

    number: int
    """Number of the job, from 1."""
    of: int | None
    """Number of jobs; None if it is unknown, as in a search."""
    label: str
    """Settings by which the job differs from the others."""
    left: list[tuple[Json, int]]
    """Different works that this job and later ones compute, and how often each is needed."""
    workers: int | None
    """Number of jobs that run at the same time; None if it is unknown."""

    @classmethod
    def of_process(cls) -> "SweepJob | None":
        """Return the place of this process's job; None outside of a sweep."""
        text = os.environ.get(JOB)
        return cls(**json.loads(text)) if text else None

    def as_json(self) -> str:
        """Return a text for the environment variable `JOB`."""
        return json.dumps(asdict(self))

    @property
    def name(self) -> str:
        """Return the job's number, such as "job 2 of 12"."""
        return f"job {self.number}" + (f" of {self.of}" if self.of else "")

    @property
    def prefix(self) -> str:
        """Return the prefix of the job's log messages, where other jobs log too."""
        label = self.label if len(self.label) <= _LONGEST else f"{self.label[: _LONGEST - 3]}..."
        return f"[{self.name}{': ' if label else ''}{label}] "

    def start(self, cache: Path) -> str:
        """Return the message at the job's start, with the time left as estimated from the results in the cache."""
        earlier = earlier_results(cache.glob("stages/*"))
        parts = [(estimated_seconds(work, earlier), count) for work, count in self.left]
        seconds = sum(each * count for each, count in parts if each is not None)
        time = ""
        if self.workers and seconds:
            least = "more than" if any(each is None for each, _ in parts) else "about"
            time = f"{least} {duration(seconds / self.workers)} left"
        return ": ".join(filter(None, (self.name, ", ".join(filter(None, (self.label, time))))))

    def end(self, result: JobResult, seconds: float) -> str:
        """Return the message at the job's end, with its result."""
        # The reason of a failure was logged when it happened.
        text = result.status if result.status == JobStatus.FAILED else outcome(result)
        return f"{self.name}: {text}, {duration(seconds)}"


def outcome(result: JobResult) -> str:
    """Return the status, reason and accuracy of a job in one line."""
    status = "complete before" if result.status == JobStatus.SKIPPED else str(result.status)
    reason = "" if result.status == JobStatus.SKIPPED else result.reason
    return ", ".join(filter(None, (f"{status}: {reason}" if reason else status, _accuracy(result))))


def _accuracy(result: JobResult) -> str:
    if result.status.failed:
        return ""
    try:
        metrics: dict[str, Any] = read_json(Path(result.folder) / "evaluate" / "metrics.json")
        best = metrics[metrics["best"]]
        return "test accuracy {accuracy:.4f} ({accuracy_low:.4f} to {accuracy_high:.4f})".format(**best)
    except (OSError, ValueError, KeyError):
        value = result.figures.get("val_accuracy")
        return "" if value is None else f"validation accuracy {value:.4f}"
