"""Helpers of the command-line programs: common arguments, and errors shown as a message instead of a traceback."""

import argparse
import inspect
import sys
from collections.abc import Callable
from typing import TypeVar

from pipeline.system.errors import PipelineError
from pipeline.system.noise import hide_library_messages
from pipeline.system.processes import install_handlers, interrupted

Result = TypeVar("Result")


def run_command(command: Callable[..., Result], *args: object) -> Result:
    """Return the result of `command` called with `args`, or exit with a message if it fails.

    The exit status is 1 after a PipelineError or a file error, and 130 after an interruption.
    """
    hide_library_messages()
    install_handlers()
    try:
        result = command(*args)
        if not interrupted():
            return result
    except PipelineError as error:
        sys.exit(f"\n{error}")
    except OSError as error:
        # Errors such as a broken pipe have no file name; they are raised unchanged.
        if error.filename is None:
            raise
        sys.exit(f"\n{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        pass
    # This line is also reached if a callback in a library has suppressed the KeyboardInterrupt.
    print("\nInterrupted", file=sys.stderr)
    sys.exit(130)


def run_without_arguments(name: str, command: Callable[[], None]) -> None:
    """Call a command of `dvc.yaml` or of the Makefile, which takes no arguments; `--help` shows its docstring.

    Args:
        name: Name of the module, as in `python -m pipeline.<name>`.
        command: Function to call.
    """
    summary = inspect.cleandoc(command.__doc__ or "")
    argparse.ArgumentParser(
        f"python -m pipeline.{name}", description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    run_command(command)


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the positional argument `overrides`, with an example in its help text."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"configuration override, such as {example}")


def add_selection(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add the mutually exclusive options `--filter`, `--sweep` and `--runs`, which select experiments.

    Parse the command line with `parse_selection` afterwards.
    """
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--filter", help="MLflow search, such as \"params.`backbone.name` = 'vgg16'\"")
    choice.add_argument("--sweep", nargs="?", const="", help="part of a sweep's command line (alone: the latest sweep)")
    choice.add_argument("--runs", nargs="+", metavar="ID", help="ids of runs in MLflow")
    return choice


def parse_selection(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, and move the overrides that argparse has added to `--runs`."""
    return parse_with_list(parser, "runs")


def parse_with_list(parser: argparse.ArgumentParser, name: str) -> argparse.Namespace:
    """Parse the command line, and move the overrides that argparse has added to the list of the option `name`."""
    args = parser.parse_intermixed_args()
    if words := getattr(args, name):
        args.overrides += [word for word in words if "=" in word]
        setattr(args, name, [word for word in words if "=" not in word])
    return args


def add_neighbours(parser: argparse.ArgumentParser) -> None:
    """Add the option `--neighbours` to a parser."""
    parser.add_argument(
        "--neighbours",
        type=whole_number(0),
        default=0,
        metavar="K",
        help="number of most similar training images beside each prediction, with their classes (default: 0); needs the "
        "training images of the classifier's experiment",
    )


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return an argparse `type` for integers from `least` to `most` (None: no upper limit)."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            limits = f">= {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"invalid value {text!r}; expected an integer {limits}")
        return int(text)

    return read
