"""What people see while it works: log lines and progress bars, both on standard error."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


def start_logging(file: Path) -> None:
    """Send the pipeline's log to the terminal and to `file`, which is continued."""
    file.parent.mkdir(parents=True, exist_ok=True)
    line = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    to_file = logging.FileHandler(file, encoding="utf-8")
    to_file.setFormatter(line)
    if CONSOLE.is_terminal:
        to_terminal: logging.Handler = RichHandler(console=CONSOLE, show_path=False)
    else:
        to_terminal = logging.StreamHandler(sys.stderr)
        to_terminal.setFormatter(line)
    logger = logging.getLogger("pipeline")
    stop_logging()
    for handler in (to_terminal, to_file):
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def stop_logging() -> None:
    """Close what `start_logging` opened."""
    logger = logging.getLogger("pipeline")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def progress(title: str, total: int | None, unit: str = "images") -> Iterator[Callable[..., None]]:
    """A progress bar with speed and time left; calling what it gives, with a count and perhaps a note, moves it on.

    `total` is None where nobody knows it yet. Nothing is drawn where standard error is not a terminal.
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
            bar.update(task, advance=count, **({} if note is None else {"note": note}))
            speed = bar.tasks[0].speed
            bar.update(task, speed=f"{speed:.0f}" if speed else "-")

        yield advance
