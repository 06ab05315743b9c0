"""Start of the commands: errors end them with a sentence instead of a traceback."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.system.errors import PipelineError
from pipeline.system.signals import install_handlers, interrupted

Result = TypeVar("Result")


def run_command(command: Callable[..., Result], *args: Any) -> Result:
    """Call `command` with `args`, and end the process if it fails.

    The exit status is 1 after a PipelineError or a file error, with a message, and 130 after an interruption.
    """
    install_handlers()
    try:
        result = command(*args)
        if not interrupted():
            return result
    except PipelineError as error:
        sys.exit(f"\n{error}")
    except OSError as error:
        # Broken pipes, for example, have no file name.
        if error.filename is None:
            raise
        sys.exit(f"\n{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        pass
    # Also reached where a library's callback has swallowed the exception.
    print("\nInterrupted", file=sys.stderr)
    sys.exit(130)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return an argparse `type` for integers in a range."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            limits = f">= {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"invalid value {text!r}; expected an integer {limits}")
        return int(text)

    return read
