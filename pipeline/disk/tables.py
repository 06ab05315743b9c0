"""Tables of disk space for the terminal, at most 100 characters wide."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from pipeline.disk.contents import Content
from pipeline.disk.parts import Part
from pipeline.disk.prune import Pruned
from pipeline.storage.files import is_writable

_WIDTH = 100
_NAME = 39
_END = 10
_AGES = {"d": 86400, "h": 3600, "min": 60, "s": 1}


def print_parts(parts: Sequence[Part], cache: Path) -> None:
    """Print the sizes of the parts of a checkout, and how to free what nothing refers to."""
    table = _table()
    table.add_column("part")
    for heading in ("number", "size", "unused"):
        table.add_column(heading, justify="right")
    for part in parts:
        number = "" if part.number is None else f"{part.number:,}"
        table.add_row(part.name, number, decimal(part.size), "" if part.unused is None else decimal(part.unused))
    unused = [part for part in parts if part.unused]
    table.add_row(
        "total", "", decimal(sum(each.size for each in parts)), decimal(sum(each.unused or 0 for each in parts))
    )
    _print(table)
    print(f"\nThe cache is {cache}{'' if is_writable(cache) else ', which is read-only'}.")
    if any(part.name.startswith("cache") for part in unused):
        print("Unused in the cache: no job folder refers to it. --prune SIZE removes this first.")
    if any(part.name.startswith("MLflow") for part in unused):
        print("Unused in MLflow: files of deleted runs. See docs/disk.md.")


def print_contents(found: Sequence[Content], limit: int | None) -> None:
    """Print the contents of the cache in the given order, at most `limit` (None: all)."""
    if not found:
        return
    table = _table()
    table.add_column("in the cache", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("experiment", no_wrap=True, overflow="ellipsis")
    for heading, least in (("size", 8), ("used ago", 8), ("jobs", 4)):
        table.add_column(heading, justify="right", no_wrap=True, min_width=least)
    table.add_column("id", no_wrap=True, min_width=6)
    for content in found[:limit]:
        entry = content.entry
        identity = "" if entry.folder.name.startswith(".") else entry.folder.name.rpartition("-")[2][:6]
        # Names may have square brackets, which rich would take for styles.
        what, name = Text(content.what), Text(_name(content.experiments))
        table.add_row(what, name, decimal(entry.size), _age(entry.used), str(content.jobs), identity)
    print()
    _print(table)
    if limit is not None and len(found) > limit:
        print(f"{len(found) - limit:,} more; --all lists them.")


def print_pruned(pruned: Pruned, budget: int, *, limit: int | None, dry_run: bool) -> None:
    """Print the outcome of pruning."""
    print_contents(pruned.removed, limit)
    verb = "would be removed" if dry_run else "removed"
    for part in dict.fromkeys(content.part for content in pruned.removed):
        sizes = [content.entry.size for content in pruned.removed if content.part == part]
        print(f"{part}: {len(sizes):,} {verb}, {decimal(sum(sizes))}")
    if not pruned.removed:
        print("Nothing is removed.")
    if pruned.in_use:
        print(f"Running processes use {len(pruned.in_use):,} more, which stay.")
    print(f"The cache {'would then have' if dry_run else 'now has'} {decimal(pruned.size)}.")
    if pruned.size > budget:
        print("This is more than the budget: digests of images, records, and what is in use always stay.")
    print("Job folders, outputs/ and MLflow are never pruned. What is missing is computed again when needed.")


def _table() -> Table:
    return Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)


def _print(table: Table) -> None:
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 0)).columns)
    Console(width=width, highlight=False, markup=False).print(table)


def _name(experiments: Sequence[str]) -> str:
    """Return the first name and the number of the others; a long name is cut before its last words."""
    others = f" and {len(experiments) - 1} more" if len(experiments) > 1 else ""
    name, room = experiments[0], _NAME - len(others)
    # A name ends with the unfreeze depth and the experiment's key, which distinguish it.
    return (name if len(name) <= room else f"{name[: room - _END - 1]}…{name[-_END:]}") + others


def _age(used: float) -> str:
    # The time is in the future if the clock was set back, or is that of another machine.
    seconds = max(0.0, time.time() - used)
    for unit, length in _AGES.items():
        if (number := int(seconds // length)) > 0:
            return f"{number} {unit}"
    return "0 s"
