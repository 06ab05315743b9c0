"""Log to the tracking store what it lacks, with `python -m pipeline.sync`."""

import argparse
from pathlib import Path

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_overrides, run_command
from pipeline.system.terminal import waiting


def main() -> None:
    """Log metrics and files that could not be logged earlier, and results of `dvc pull` in outputs/."""
    parser = CommandParser(
        "sync",
        main.__doc__,
        examples=["", "tracking.uri=http://tracking:5000", "--folder /data/cache"],
        keys=["cache_folder", "tracking.uri"],
    )
    parser.add_argument("--folder", type=Path, help="cache folder (default: cache_folder of the configuration)")
    add_overrides(parser, "cache_folder=...")
    run_command(sync, parser.parse_intermixed_args())


def sync(args: argparse.Namespace) -> None:
    """Log all that is missing in the store; see `python -m pipeline.sync --help`.

    Raises:
        PipelineError: Some runs could not be delivered; all others were delivered.
    """
    from pipeline.config.compose import configuration
    from pipeline.system.paths import resolve

    config = configuration(args.overrides)
    folder = args.folder or resolve(config.cache_folder)
    # MLflow takes seconds to import, and --help does not need it.
    with waiting("looking for what the store has not"):
        from pipeline.jobs.run_stages import log_outputs
        from pipeline.tracking.outbox import deliver_all
        from pipeline.tracking.store import connect, store_uri

        if store_uri(config.tracking).startswith("sqlite"):
            # Files are found again if the checkout was moved.
            connect(config.tracking)
        delivered = deliver_all(folder)
    print("\n".join(delivered) or f"No pending data in {folder}")
    if args.folder is None and log_outputs(config):
        print("The results in outputs/ are in the store")


if __name__ == "__main__":
    main()
