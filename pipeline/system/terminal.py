"""Terminal output: log messages, progress bars and spinners on standard error, and a console for tables."""

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
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

CONSOLE = Console(stderr=True)
"""Console for log messages, progress bars and spinners."""

# Whether other processes write to the same terminal, where bars would overwrite each other.
_shared = False


class Advance(Protocol):
    """Function that advances a progress bar."""

    def __call__(self, count: int = 1, note: str | None = None, title: str | None = None) -> None:
        """Advance the bar by `count`, and replace its note and its title unless they are None."""


def table_console(file: TextIO | None = None, width: int = 160) -> Console:
    """Return a console for tables, as wide as the terminal.

    Args:
        file: Output file; None: standard output.
        width: Width in characters if the output is not a terminal.
    """
    return Console(file=file, width=None if (file or sys.stdout).isatty() else width)


def report(text: str) -> None:
    """Print what a command does, on standard error, above spinners and bars."""
    CONSOLE.print(text, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a duration in its largest suitable unit, such as 45 s, 14 min, 5 h or 3 days."""
    for unit, size, least in (("days", 86400, 2), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= least * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def start_logging(file: Path, prefix: str = "", *, shared: bool = False) -> None:
    """Write the pipeline's log messages to the terminal and append them to `file`, instead of an earlier job's file.

    Args:
        file: Log file.
        prefix: Text before each message in the terminal, where several jobs may write at the same time.
        shared: Whether another process owns the terminal, so that bars are not shown, and only warnings and errors are.
    """
    global _shared
    _shared = shared or bool(prefix)
    file.parent.mkdir(parents=True, exist_ok=True)
    line = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    to_file = logging.FileHandler(file, encoding="utf-8")
    to_file.setFormatter(line)
    escaped = prefix.replace("%", "%%")
    if CONSOLE.is_terminal:
        to_terminal: logging.Handler = RichHandler(console=CONSOLE, show_path=False, log_time_format="%X")
        to_terminal.setFormatter(logging.Formatter(f"{escaped}%(message)s"))
    else:
        to_terminal = logging.StreamHandler(sys.stderr)
        to_terminal.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {escaped}%(message)s"))
    if shared:
        # Another process shows a bar or a spinner in the same line.
        to_terminal.setLevel(logging.WARNING)
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
    """Show a progress bar with speed and remaining time, if standard error is a terminal of this process alone.

    Args:
        title: Text in front of the bar.
        total: Count at the end; None: unknown.
        unit: Unit of the count.

    Returns:
        Function that advances the bar.
    """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, {{task.fields[speed]}}/s,"),
        TimeRemainingColumn(compact=True),
        TextColumn("left {task.fields[note]}"),
    ]
    with Progress(*columns, console=CONSOLE, disable=total == 0 or not _is_live()) as bar:
        task = bar.add_task(title, total=total, speed="-", note="")

        def advance(count: int = 1, note: str | None = None, title: str | None = None) -> None:
            bar.update(task, advance=count, description=title)
            if note is not None:
                bar.update(task, note=f"({note})")
            speed = bar.tasks[0].speed
            bar.update(task, speed=f"{speed:.0f}" if speed else "-")

        yield advance


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner with the elapsed time during the block, if standard error is a terminal of this process alone.

    Progress bars of the block are shown below it.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    # Standard error is not replaced meanwhile, since an import of TensorFlow may replace it (see `noise`).
    with Progress(
        *columns,
        console=CONSOLE,
        transient=True,
        disable=not _is_live(),
        redirect_stdout=False,
        redirect_stderr=False,
    ) as spinner:
        spinner.add_task(text, total=None)
        yield


def _is_live() -> bool:
    return CONSOLE.is_terminal and not _shared
