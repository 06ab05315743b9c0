"""Start of the commands: errors end them with a sentence instead of a traceback."""

import argparse
import sys
from collections.abc import Callable
from typing import TypeVar

from pipeline.system.errors import PipelineError
from pipeline.system.processes import install_handlers, interrupted

Result = TypeVar("Result")


def run_command(command: Callable[..., Result], *args: object) -> Result:
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


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the positional argument `overrides`, with an example of one."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"of the configuration, such as {example}")


def add_selection(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add `--filter`, `--sweep` and `--runs`, of which one selects experiments; `parse_selection` parses them."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--filter", help="MLflow's filter, such as \"params.`backbone.name` = 'vgg16'\"")
    choice.add_argument(
        "--sweep", nargs="?", const="", help="a sweep's jobs: a part of its command line; alone, the latest sweep"
    )
    choice.add_argument("--runs", nargs="+", metavar="ID", help="these MLflow runs")
    return choice


def parse_selection(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; argparse gives `--runs` all words that follow, overrides too."""
    args = parser.parse_intermixed_args()
    if args.runs:
        args.overrides += [word for word in args.runs if "=" in word]
        args.runs = [word for word in args.runs if "=" not in word]
    return args


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return an argparse `type` for integers in a range."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            limits = f">= {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"invalid value {text!r}; expected an integer {limits}")
        return int(text)

    return read
