"""Job folders and what they use of the cache, recorded in the cache folder for jobs in any place."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.jobs.results import RUN, result_name
from pipeline.stages import STAGES
from pipeline.storage.files import is_writable, read_json, write_json
from pipeline.system.processes import machine


@dataclass(frozen=True)
class JobFolder:
    """Folder of a job's stages, or outputs/ under DVC."""

    folder: str
    """Absolute path."""
    experiment: str
    """Name of the experiment, as in MLflow."""
    machine: str
    """Machine on which the path is valid."""
    uses: list[str]
    """Names of folders in the cache: results of stages, and entries from which these were computed."""

    @classmethod
    def read(cls, folder: Path, experiment: str | None = None) -> "JobFolder":
        """Return the state of a folder.

        Args:
            folder: Folder of a job.
            experiment: Name of the experiment; None: the name in the last stage's result.
        """
        uses, found = set(), ""
        for stage in STAGES:
            try:
                run = read_json(folder / stage / RUN)
                uses |= {result_name(stage, run["stage_key"]), *run.get("cache", [])}
            except (OSError, ValueError, KeyError):
                continue
            found = run.get("made_by", found)
        return cls(str(folder.resolve()), experiment or found, machine(), sorted(uses))

    @property
    def is_gone(self) -> bool:
        """Return whether the folder was removed; that of another machine may still exist there."""
        return self.machine == machine() and not Path(self.folder).is_dir()


def record(cache: Path, root: Path, experiment: str, next_result: str) -> None:
    """Record a job folder in the cache, unless that is read-only.

    Args:
        cache: Cache folder.
        root: Job folder.
        experiment: Name of the experiment.
        next_result: Name of the result that the job takes from the cache or computes now.
    """
    if not is_writable(_records(cache)):
        return
    job = JobFolder.read(root, experiment)
    entry = asdict(job) | {"uses": sorted({*job.uses, next_result})}
    write_json(_records(cache) / f"{hashlib.sha256(job.folder.encode()).hexdigest()[:16]}.json", entry)


def recorded(cache: Path) -> dict[Path, JobFolder]:
    """Return all records in the cache by their files; those that can't be read are left out."""
    jobs = {}
    for file in _records(cache).glob("*.json"):
        try:
            jobs[file] = JobFolder(**read_json(file))
        except (OSError, ValueError, TypeError):
            continue
    return jobs


def _records(cache: Path) -> Path:
    return cache / "jobs"
