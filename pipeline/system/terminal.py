"""Terminal output: log messages and progress bars on standard error, and a console for tables."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

CONSOLE = Console(stderr=True)
"""Console for log messages and progress bars."""


class Advance(Protocol):
    """Function that advances a progress bar."""

    def __call__(self, count: int = 1, note: str | None = None) -> None:
        """Advance the bar by `count`, and replace its note unless `note` is None."""


def table_console(file: TextIO | None = None, width: int = 160) -> Console:
    """Return a console for tables, as wide as the terminal.

    Args:
        file: Output file; None: standard output.
        width: Width in characters if the output is not a terminal.
    """
    return Console(file=file, width=None if (file or sys.stdout).isatty() else width)


def duration(seconds: float) -> str:
    """Return a duration in its largest suitable unit, such as 45 s, 14 min, 5 h or 3 days."""
    for unit, size, least in (("days", 86400, 2), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= least * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def start_logging(file: Path, prefix: str = "") -> None:
    """Write the pipeline's log messages to the terminal and append them to `file`, instead of an earlier job's file.

    Args:
        file: Log file.
        prefix: Text before each message in the terminal, where several jobs may write at the same time.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    line = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    to_file = logging.FileHandler(file, encoding="utf-8")
    to_file.setFormatter(line)
    escaped = prefix.replace("%", "%%")
    if CONSOLE.is_terminal:
        to_terminal: logging.Handler = RichHandler(console=CONSOLE, show_path=False)
        to_terminal.setFormatter(logging.Formatter(f"{escaped}%(message)s"))
    else:
        to_terminal = logging.StreamHandler(sys.stderr)
        to_terminal.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {escaped}%(message)s"))
    logger = logging.getLogger("pipeline")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    for handler in (to_terminal, to_file):
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log_file() -> Path | None:
    """Return the file that `start_logging` appends to; None before its first call."""
    handlers = logging.getLogger("pipeline").handlers
    return next((Path(each.baseFilename) for each in handlers if isinstance(each, logging.FileHandler)), None)


@contextmanager
def progress(title: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
    """Show a progress bar with speed and remaining time, if standard error is a terminal.

    Args:
        title: Text in front of the bar.
        total: Count at the end; None: unknown.
        unit: Unit of the count.

    Returns:
        Function that advances the bar.
    """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[speed]}} {unit}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=CONSOLE, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task(title, total=total, speed="-", note="")

        def advance(count: int = 1, note: str | None = None) -> None:
            bar.update(task, advance=count)
            if note is not None:
                bar.update(task, note=note)
            speed = bar.tasks[0].speed
            bar.update(task, speed=f"{speed:.0f}" if speed else "-")

        yield advance
