"""Parts of a checkout on the disk: their sizes, and how much of them nothing refers to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import TrackingConfig
from pipeline.disk.contents import PARTS, RUNS, Content
from pipeline.jobs.job_folders import JobFolder
from pipeline.stages.settings import OUTPUTS
from pipeline.storage.entries import folder_size
from pipeline.system.paths import main_checkout
from pipeline.tracking.local_files import artifact_folders, local_database


@dataclass(frozen=True)
class Part:
    """Part of what a checkout holds."""

    name: str
    size: int
    """Size in bytes."""
    number: int | None = None
    """Number of folders or entries; None: they are not counted."""
    unused: int | None = None
    """Size in bytes of all to which nothing refers; None: nothing is known about it."""


def parts(tracking: TrackingConfig, cache: Path, jobs: Sequence[JobFolder], found: Sequence[Content]) -> list[Part]:
    """Return the parts of this checkout and of its cache; those that are empty are left out.

    Args:
        tracking: Settings of the tracking store; the files of a server are not counted.
        cache: Cache folder.
        jobs: Job folders.
        found: Contents of the cache.
    """
    named = {str(OUTPUTS.resolve()), *(str(folder.resolve()) for folder in RUNS.glob("*/"))}
    elsewhere = [Path(job.folder) for job in jobs if job.folder not in named and Path(job.folder).is_dir()]
    dvc = main_checkout() / ".dvc" / "cache"
    all_parts = [
        Part("job folders in runs/", folder_size(RUNS), len(list(RUNS.glob("*/")))),
        Part("job folders elsewhere", sum(map(folder_size, elsewhere)), len(elsewhere)),
        Part("outputs/ of dvc repro", folder_size(OUTPUTS)),
        Part("DVC: cache", folder_size(dvc)),
        *_stored(tracking),
        *_cached(cache, found),
    ]
    return [part for part in all_parts if part.size or part.number]


def _stored(tracking: TrackingConfig) -> list[Part]:
    database = local_database(tracking)
    if database is None or not database.exists():
        return []
    sizes = [(each, folder_size(each.folder)) for each in artifact_folders(database)]
    # `mlflow gc` leaves empty folders.
    folders = [(each, size) for each, size in sizes if size]
    stored = [Part("MLflow: database", database.stat().st_size)]
    for name, is_model in (("MLflow: models", True), ("MLflow: files of runs", False)):
        chosen = [(each.needed, size) for each, size in folders if each.is_model == is_model]
        stored.append(Part(name, *_summary(chosen)))
    return stored


def _cached(cache: Path, found: Sequence[Content]) -> list[Part]:
    cached = []
    for name in dict.fromkeys([*PARTS.values(), *(content.part for content in found)]):
        chosen = [(content.jobs > 0, content.entry.size) for content in found if content.part == name]
        cached.append(Part(f"cache: {name}", *_summary(chosen)))
    rest = folder_size(cache) - sum(part.size for part in cached)
    return [*cached, Part("cache: digests of images, records", max(0, rest))]


def _summary(items: Iterable[tuple[bool, int]]) -> tuple[int, int, int]:
    """Return total size, number and unused size of items, each given as whether it is used, and its size."""
    items = list(items)
    return sum(size for _, size in items), len(items), sum(size for used, size in items if not used)
