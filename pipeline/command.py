"""How the tools on results are started: what goes wrong ends them with a sentence instead of a traceback."""

import sys
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import PipelineError

Result = TypeVar("Result")


def carry_out(do: Callable[..., Result], *arguments) -> Result:
    """Call `do`; a PipelineError ends the process with its message and exit status 1."""
    try:
        return do(*arguments)
    except PipelineError as error:
        sys.exit(f"\n{error}")
