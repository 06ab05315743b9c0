"""List or prune the cache with `python -m pipeline.cache`."""

import argparse
import re
import time
from datetime import timedelta
from pathlib import Path

from pipeline.storage.cache import Cache
from pipeline.storage.files import is_writable
from pipeline.system.cli import add_overrides, run_command
from pipeline.system.errors import PipelineError

# Properties of an entry that are shown in the list.
_SHOWN = ("backbone", "image_size", "view", "rows", "shape", "dtype")


def main() -> None:
    """List the entries of the cache, or remove the least recently used ones."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cache", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="cache folder (default: cache_folder of the configuration)")
    parser.add_argument(
        "--prune",
        type=_bytes,
        metavar="SIZE",
        help="remove the least recently used entries until the cache is not larger than SIZE, such as 20GiB or 500MiB",
    )
    add_overrides(parser, "cache_folder=...")
    run_command(cache, parser.parse_intermixed_args())


def cache(args: argparse.Namespace) -> None:
    """Prune the cache if requested, then list it; see `python -m pipeline.cache --help`.

    Raises:
        PipelineError: The cache can't be pruned, since it is not writable.
    """
    # These imports are slow, and --help does not need them.
    from rich.filesize import decimal
    from rich.table import Table

    from pipeline.config.compose import configuration
    from pipeline.system.paths import resolve
    from pipeline.system.terminal import table_console

    place = Cache(args.folder or resolve(configuration(args.overrides).cache_folder))
    if args.prune is not None:
        if not is_writable(place.folder):
            raise PipelineError(f"{place.folder} can't be written to, so no entries can be removed; make it writable")
        removed = place.prune(args.prune)
        print(f"removed entries: {len(removed)}, {decimal(sum(entry.size for entry in removed))} in total")
    entries = place.listing()
    table = Table("holds", "what", "size", "last used", "entry", box=None)
    for entry in entries:
        what = "  ".join(f"{name} {value}" for name, value in entry.holds.items() if name in _SHOWN and value)
        # The time of use is in the future if the clock was set back, or is that of another machine.
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
