"""How the tools on results are started: what goes wrong ends them with a sentence instead of a traceback."""

import argparse
import sys
from collections.abc import Callable
from typing import TypeVar

from pipeline.system.errors import PipelineError
from pipeline.system.signals import install_handlers, interrupted

Result = TypeVar("Result")


def run_command(do: Callable[..., Result], *arguments) -> Result:
    """Call `do`; a PipelineError, or a file that the system refuses, ends the process with a sentence and exit status 1, an interruption with 130."""
    install_handlers()
    try:
        result = do(*arguments)
        if not interrupted():
            return result
    except PipelineError as error:
        sys.exit(f"\n{error}")
    except OSError as error:
        # Of a broken pipe, and of much that is no file, none is named.
        if error.filename is None:
            raise
        sys.exit(f"\n{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        pass
    # Also where the exception was lost in somebody else's callback.
    print("\nInterrupted", file=sys.stderr)
    sys.exit(130)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """What an option takes that is a whole number, as argparse's `type`."""

    def read(given: str) -> int:
        if not given.isdecimal() or int(given) < least or (most is not None and int(given) > most):
            range_ = f"at least {least}" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"{given!r} is not allowed; it takes a whole number, {range_}")
        return int(given)

    return read
