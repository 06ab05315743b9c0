"""Run an experiment again and compare every figure: `python -m pipeline.reproduce RUN`."""

import argparse
import sys
from pathlib import Path

from pipeline.system.cli import add_overrides, run_command


def main() -> None:
    """Run an experiment again from its MLflow run, and compare every figure.

    The code is its commit's, in a folder of its own; the environment is made from its lock. Exit status 1 where a
    figure differs by more than the tolerance.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline.reproduce", description=main.__doc__)
    parser.add_argument("run", metavar="RUN", help="id of a complete MLflow run, or the start of one")
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="the folder for code, environment and results (reproduced/<run>)"
    )
    parser.add_argument("--here", action="store_true", help="use this environment instead of making one from the lock")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="largest difference that is still called within tolerance (1e-6)"
    )
    add_overrides(parser, "tracking.uri=...")
    sys.exit(run_command(reproduce, parser.parse_intermixed_args()))


def reproduce(args: argparse.Namespace) -> int:
    """Run the experiment again and print the differences; return the exit status.

    Raises:
        PipelineError: the run does not name its code, or can't be run again.
    """
    # pandas and MLflow take seconds to import, and --help does not need them.
    from pipeline.config.compose import configuration
    from pipeline.deployment.reproduction import print_figures, run_again, verdict

    tracking = configuration(args.overrides).tracking
    run, figures = run_again(args.run, tracking, folder=args.into, make_environment=not args.here)
    print_figures(run, figures, args.tolerance)
    return int(verdict(figures, args.tolerance) == "different")


if __name__ == "__main__":
    main()
