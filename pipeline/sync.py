"""Deliver to the tracking store what it was away for: `python -m pipeline.sync`."""

import argparse
from pathlib import Path

from pipeline.system.cli import run_command


def main() -> None:
    """Deliver all that is kept in the cache folder for a tracking store that was away."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sync", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="instead of the configured cache_folder")
    run_command(sync, parser.parse_args())


def sync(given: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        PipelineError: the store is away, or some run could not be delivered; the others were.
    """
    # Seconds to import, and --help needs none of it.
    from pipeline.config.compose import composed, with_params
    from pipeline.system.paths import resolve
    from pipeline.tracking.delivery import deliver_all

    folder = given.folder or resolve(composed(with_params([])).cache_folder)
    print("\n".join(deliver_all(folder)) or f"Nothing is undelivered in {folder}")


if __name__ == "__main__":
    main()
