"""What the terminal shows of bars and of the messages of other processes."""

import io
import logging

import pytest
from rich.console import Console

from pipeline.system import terminal
from pipeline.system.terminal import progress, start_logging


@pytest.fixture
def screen(monkeypatch):
    """The text that a terminal of a hundred columns gets; the loggers are put back afterwards."""
    text = io.StringIO()
    monkeypatch.setattr(terminal, "CONSOLE", Console(file=text, force_terminal=True, width=100))
    monkeypatch.setattr(terminal, "_shared", False)
    logger = logging.getLogger("pipeline")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield text
    for each in set(logger.handlers) - set(handlers):
        each.close()
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def test_a_bar_without_anything_to_count_is_not_shown(screen):
    with progress("reading files", 0):
        pass
    assert "reading files" not in screen.getvalue()
    with progress("reading files", 1) as advance:
        advance()
    assert "reading files" in screen.getvalue()


def test_a_process_beside_writes_its_progress_to_the_file_and_problems_to_the_terminal_too(screen, tmp_path):
    start_logging(tmp_path / "log", shared=True)
    logging.getLogger("pipeline.stages").info("report: started")
    logging.getLogger("pipeline.stages").warning("a chart is missing")
    assert "report: started" not in screen.getvalue()
    assert "a chart is missing" in screen.getvalue()
    assert "report: started" in (tmp_path / "log").read_text()
