"""List the cache or prune it: `python -m pipeline.cache`."""

import argparse
import re
import time
from datetime import timedelta
from pathlib import Path

from pipeline.storage.cache import Cache
from pipeline.storage.files import is_writable
from pipeline.system.cli import add_overrides, run_command
from pipeline.system.errors import PipelineError

# Of what an entry depends on, what tells people which one it is.
_SHOWN = ("backbone", "image_size", "view", "rows", "shape", "dtype")


def main() -> None:
    """List the cache, or prune it."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cache", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="instead of the configured cache_folder")
    parser.add_argument(
        "--prune", type=_bytes, metavar="SIZE", help="keep what was used last, up to e.g. 20GiB or 500MiB"
    )
    add_overrides(parser, "cache_folder=...")
    run_command(cache, parser.parse_intermixed_args())


def cache(args: argparse.Namespace) -> None:
    """Prune the cache where asked to, then list it; see `python -m pipeline.cache --help`.

    Raises:
        PipelineError: the cache is to be pruned, and can't be written to.
    """
    # Hydra and rich take a moment to import, and --help does not need them.
    from rich.filesize import decimal
    from rich.table import Table

    from pipeline.config.compose import configuration
    from pipeline.system.paths import resolve
    from pipeline.system.terminal import table_console

    place = Cache(args.folder or resolve(configuration(args.overrides).cache_folder))
    if args.prune is not None:
        if not is_writable(place.folder):
            raise PipelineError(f"{place.folder} can't be written to, so that nothing can be removed")
        removed = place.prune(args.prune)
        print(f"removed {len(removed)} of {decimal(sum(entry.size for entry in removed))}")
    entries = place.listing()
    table = Table("holds", "what", "size", "last used", "entry", box=None)
    for entry in entries:
        what = "  ".join(f"{name} {value}" for name, value in entry.holds.items() if name in _SHOWN and value)
        # A clock that was set back, or another machine's, puts it into the future.
        used = timedelta(seconds=max(0, round(time.time() - entry.used)))
        table.add_row(entry.holds["kind"], what, decimal(entry.size), f"{used} ago", entry.folder.name[-32:-24])
    console = table_console()
    console.print(table)
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    console.print(f"{count}, {decimal(sum(entry.size for entry in entries))}, in {place.folder}")


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([\d.]+)\s*(B|KiB|MiB|GiB|TiB)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"invalid size {text!r}; expected a number and B, KiB, MiB, GiB or TiB, such as 20GiB"
        )
    return round(float(match[1]) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(match[2]))


if __name__ == "__main__":
    main()
