"""Commands called in the test's own process, which waits for no second Python's imports."""

import sys
from collections.abc import Callable

import pytest

from pipeline.system.processes import handlers_installed


def call(main: Callable[[], None], *arguments: str) -> int | str | None:
    """Call a command's `main` with arguments; what it exits with: a status, or a sentence; None where it returns."""
    with pytest.MonkeyPatch.context() as patch, handlers_installed():
        patch.setattr(sys, "argv", [main.__module__, *arguments])
        try:
            return main()
        except SystemExit as end:
            return end.code
