"""Rerun an experiment and compare its metrics with `python -m pipeline.reproduce RUN`."""

import argparse
import sys
from pathlib import Path

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_overrides, run_command
from pipeline.system.terminal import waiting


def main() -> None:
    """Rerun an experiment from its MLflow run, with the same commit and lock file, and compare all metrics.

    The code and a new environment are in a separate folder. The exit status is 1 if a metric differs by more than the
    tolerance.
    """
    parser = CommandParser(
        "reproduce",
        main.__doc__,
        examples=["1a2b3c4d", "1a2b3c4d --here", "1a2b3c4d --out again --tolerance 1e-4"],
        keys=["tracking.uri"],
    )
    parser.add_argument("run", metavar="RUN", help="id of a complete MLflow run, or its first characters")
    parser.add_argument(
        "--out", "--into", type=Path, metavar="DIR", help="folder for code and results (default: reproduced/<run>)"
    )
    parser.add_argument("--here", action="store_true", help="use this environment instead of one from the lock file")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="largest allowed difference of a metric (default: 1e-6)"
    )
    add_overrides(parser, "tracking.uri=...")
    sys.exit(run_command(reproduce, parser.parse_intermixed_args()))


def reproduce(args: argparse.Namespace) -> int:
    """Rerun the experiment, print the differences, and return the exit status.

    Raises:
        PipelineError: The run has no commit, or can't be rerun.
    """
    from pipeline.config.compose import configuration

    tracking = configuration(args.overrides).tracking
    # pandas and MLflow take seconds to import, and --help does not need them.
    with waiting("loading MLflow"):
        from pipeline.deployment.reproduction import print_figures, run_again, verdict

    run, figures = run_again(args.run, tracking, folder=args.out, make_environment=not args.here)
    print_figures(run, figures, args.tolerance)
    return int(verdict(figures, args.tolerance) == "different")


if __name__ == "__main__":
    main()
