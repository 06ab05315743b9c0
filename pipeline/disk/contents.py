"""Contents of the cache by experiment: results of stages, decoded images, features and checkpoints."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.size import size_text
from pipeline.jobs.checkpoints import listed_checkpoints
from pipeline.jobs.job_folders import JobFolder, recorded
from pipeline.jobs.results import SharedResults
from pipeline.stages.settings import OUTPUTS
from pipeline.storage.cache import Cache
from pipeline.storage.entries import Entry

RUNS = Path("runs")
"""Folder of the jobs' folders, if the command line names no other."""
PARTS = {
    "result": "results of stages",
    "images": "decoded images",
    "frozen": "features",
    "predictions": "predictions",
    "neighbours": "similar images",
    "checkpoint": "checkpoints",
    "unfinished": "unfinished",
    "damaged": "damaged",
}
"""Names of the kinds of entries."""


@dataclass(frozen=True)
class Content:
    """Entry of the cache, and the experiments that use it."""

    entry: Entry
    experiments: list[str]
    """Names of the experiments whose job folders refer to the entry; if there are none, of the one that made it."""
    jobs: int
    """Number of job folders that refer to the entry."""

    @property
    def part(self) -> str:
        """Return the name of the entry's kind."""
        kind = str(self.entry.holds["kind"])
        return PARTS.get(kind, kind)

    @property
    def what(self) -> str:
        """Return a description of the data in a few words."""
        holds = self.entry.holds
        match holds["kind"]:
            case "result":
                return f"result of {holds['stage']}"
            case "checkpoint":
                return f"checkpoint of {holds['stage']}"
            case "images":
                # Entries of earlier versions do not say how they were resized.
                resized = f", {holds['resize']}" if holds.get("resize") else ""
                return f"{holds['rows']} images, {size_text(holds['image_size'])}{resized}"
            case "frozen":
                variant = f", variant {holds['view']}" if holds["view"] else ""
                return f"features {holds['shape']}{variant}"
            case kind:
                return str(kind)


def job_folders(cache: Path) -> list[JobFolder]:
    """Return the job folders that exist: those in runs/, outputs/, and all that have used the cache.

    A folder of another machine may be out of reach; it is taken to exist as it was recorded.
    """
    known = [job for job in recorded(cache).values() if not job.is_gone]
    here = [JobFolder.read(folder) for folder in (OUTPUTS, *RUNS.glob("*/")) if folder.is_dir()]
    found = {job.folder: job for job in here}
    for job in known:
        now = found.get(job.folder) or JobFolder.read(Path(job.folder))
        found[job.folder] = replace(job, uses=sorted({*job.uses, *now.uses}))
    return list(found.values())


def contents(cache: Path, jobs: Iterable[JobFolder]) -> list[Content]:
    """Return the contents of a cache folder, beginning with the most recently used."""
    users = defaultdict(list)
    for job in jobs:
        for name in job.uses:
            users[name].append(job.experiment)
    entries = Cache(cache).listing() + SharedResults(cache).listing() + listed_checkpoints(cache)
    found = []
    for entry in entries:
        # A checkpoint is needed by the jobs that need the result.
        using = users[entry.folder.name.removeprefix("resume-")]
        names = sorted({*filter(None, using)}) or [entry.holds.get("made_by", "")]
        found.append(Content(entry, names, len(using)))
    return sorted(found, key=lambda content: content.entry.used, reverse=True)
