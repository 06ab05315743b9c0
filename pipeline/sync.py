"""Upload pending data to the tracking store with `python -m pipeline.sync`."""

import argparse
from pathlib import Path

from pipeline.system.cli import add_overrides, run_command


def main() -> None:
    """Upload metrics and files that could not be logged while the tracking store was unreachable."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sync", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="cache folder (default: cache_folder of the configuration)")
    add_overrides(parser, "cache_folder=...")
    run_command(sync, parser.parse_intermixed_args())


def sync(args: argparse.Namespace) -> None:
    """Upload all pending data; see `python -m pipeline.sync --help`.

    Raises:
        PipelineError: Some runs could not be delivered; all others were delivered.
    """
    # MLflow takes seconds to import, and --help does not need it.
    from pipeline.config.compose import configuration
    from pipeline.system.paths import resolve
    from pipeline.tracking.outbox import deliver_all

    folder = args.folder or resolve(configuration(args.overrides).cache_folder)
    print("\n".join(deliver_all(folder)) or f"No pending data in {folder}")


if __name__ == "__main__":
    main()
