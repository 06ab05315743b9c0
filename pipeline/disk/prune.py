"""Pruning of the cache to a budget."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.disk.contents import Content
from pipeline.jobs.job_folders import recorded
from pipeline.storage.entries import folder_size
from pipeline.storage.files import is_writable
from pipeline.system.errors import PipelineError


@dataclass
class Pruned:
    """Outcome of pruning."""

    size: int
    """Size of the cache in bytes, afterwards."""
    removed: list[Content] = field(default_factory=list)
    in_use: list[Content] = field(default_factory=list)
    """Contents that running processes have locked."""


def prune(cache: Path, found: Sequence[Content], budget: int, *, dry_run: bool) -> Pruned:
    """Remove contents of a cache folder until it is not larger than `budget` bytes.

    What no job folder refers to is removed first, then what was used longest ago. What a running process has locked is
    not removed. Everything that is removed is computed again when it is needed.

    Args:
        cache: Cache folder.
        found: Contents of the folder.
        budget: Largest size in bytes.
        dry_run: Remove nothing, and return what would be removed.

    Raises:
        PipelineError: The folder can't be written to.
    """
    if not is_writable(cache):
        raise PipelineError(f"{cache} can't be written to, so no entries can be removed; make it writable")
    for file, job in recorded(cache).items():
        if job.is_gone and not dry_run:
            file.unlink(missing_ok=True)
    pruned = Pruned(folder_size(cache))
    for content in sorted(found, key=lambda content: (content.jobs > 0, content.entry.used)):
        if pruned.size <= budget:
            break
        if content.entry.remove(dry_run=dry_run):
            pruned.removed.append(content)
            pruned.size -= content.entry.size
        else:
            pruned.in_use.append(content)
    return pruned
