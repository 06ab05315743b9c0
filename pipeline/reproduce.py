"""Run an experiment again and compare every figure: `python -m pipeline.reproduce RUN`"""

import argparse
import sys
from pathlib import Path

from pipeline.system.cli import run_command
from pipeline.system.errors import PipelineError


def main() -> None:
    """Run an experiment again, from its MLflow run: its commit's code beside this one, an environment from its lock, its configuration;
    then compare every figure. Exit status 1 where one differs by more than the tolerance."""
    sys.exit(run_command(reproduce, _arguments()))


def reproduce(given: argparse.Namespace) -> int:
    """Do what the command line says; returns the exit status.

    Raises:
        PipelineError: the run does not say how it came about, or can't be run again.
    """
    # Seconds to import, and --help needs none of it.
    import yaml
    from rich.console import Console
    from rich.table import Table

    from pipeline.comparison.experiments import find
    from pipeline.config import TrackingConfig
    from pipeline.config.compose import configuration
    from pipeline.deployment.reproduction import check_out, compare, environment, meant, run_again, verdict

    tracking = configuration(given.overrides).tracking
    run = meant(given.run, find(tracking, None, None, None))
    file, commit, lock = run.file("config.yaml"), run.tags.get("git_commit"), run.tags.get("lock_sha256")
    if not (file and commit and lock):
        raise PipelineError(
            f"{run.name} ({run.run_id}) does not say its configuration, commit and lock; it can't be run again"
        )
    if run.tags.get("git_dirty") == "true":
        print(
            f"{run.name} was computed with changes that were not committed; what follows is the commit without them",
            file=sys.stderr,
        )
    folder = given.into or Path("reproduced") / run.run_id[:8]
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    check_out(commit, lock, folder)
    store = run_again(Path(sys.executable) if given.here else environment(folder), settings, folder)
    name = settings["tracking"]["experiment"]
    [again] = find(TrackingConfig("again", store, name, "none", None), None, None, None)[:1]
    figures = compare(run.metrics, again.metrics)
    said = verdict(figures, given.tolerance)
    table = Table("", "then", "now", "difference", box=None, header_style="bold")
    for each in figures:
        if each.difference > 0:
            table.add_row(
                each.name,
                _told(each.then),
                _told(each.now),
                f"{each.difference:.2g}",
                style="red" if each.difference > given.tolerance else None,
            )
    console = Console(width=None if sys.stdout.isatty() else 160)
    if said != "identical":
        console.print(table)
    console.print(
        f"{run.name} ({run.run_id}): {len(figures)} figures, {said}" + f" ({given.tolerance:g})" * (said != "identical")
    )
    return int(said == "different")


def _told(value: float | None) -> str:
    return "missing" if value is None else f"{value:.9g}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.reproduce", description=main.__doc__)
    parser.add_argument("run", metavar="RUN", help="id of a complete MLflow run, or the start of one")
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="the folder for code, environment and results (reproduced/<run>)"
    )
    parser.add_argument("--here", action="store_true", help="use this environment instead of making one from the lock")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="largest difference that is still called within tolerance (1e-6)"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the configuration, such as tracking.uri=..."
    )
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
