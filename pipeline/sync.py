"""Deliver to the tracking store what it missed while away: `python -m pipeline.sync`."""

import argparse
from pathlib import Path

from pipeline.system.cli import add_overrides, run_command


def main() -> None:
    """Deliver all that the cache folder keeps for a tracking store that was away."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sync", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="instead of the configured cache_folder")
    add_overrides(parser, "cache_folder=...")
    run_command(sync, parser.parse_intermixed_args())


def sync(args: argparse.Namespace) -> None:
    """Deliver what is pending; see `python -m pipeline.sync --help`.

    Raises:
        PipelineError: the store is away, or some run could not be delivered; the others were.
    """
    # MLflow takes seconds to import, and --help does not need it.
    from pipeline.config.compose import configuration
    from pipeline.system.paths import resolve
    from pipeline.tracking.outbox import deliver_all

    folder = args.folder or resolve(configuration(args.overrides).cache_folder)
    print("\n".join(deliver_all(folder)) or f"Nothing is undelivered in {folder}")


if __name__ == "__main__":
    main()
