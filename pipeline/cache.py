"""List the cache or prune it: `python -m pipeline.cache`."""

import argparse
import re
import sys
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from pipeline.storage.cache import Cache
from pipeline.storage.files import is_writable

# Of what an entry depends on, what tells people which one it is.
_TOLD = ("backbone", "image_size", "view", "rows", "shape", "dtype")


def main() -> None:
    """List the cache, or prune it."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cache", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="instead of the configured cache_folder")
    parser.add_argument(
        "--prune", type=_bytes, metavar="SIZE", help="keep what was used last, up to e.g. 20GiB or 500MiB"
    )
    given = parser.parse_args()
    cache = Cache(given.folder or _configured_folder())
    if given.prune is not None and not is_writable(cache.folder):
        parser.error(f"{cache.folder} can't be written to, so that nothing can be removed")
    if given.prune is not None:
        removed = cache.prune(given.prune)
        print(f"removed {len(removed)} of {decimal(sum(entry.size for entry in removed))}")
    entries = cache.listing()
    table = Table("holds", "what", "size", "last used", "entry", box=None)
    for entry in entries:
        holds = {name: value for name, value in entry.holds.items() if name in _TOLD and value}
        what = "  ".join(f"{name} {value}" for name, value in holds.items())
        # A clock that was set back, or another machine's, makes it the future.
        used = timedelta(seconds=max(0, round(time.time() - entry.used)))
        table.add_row(entry.holds["kind"], what, decimal(entry.size), f"{used} ago", entry.folder.name[-32:-24])
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    console.print(f"{count}, {decimal(sum(entry.size for entry in entries))}, in {cache.folder}")


def _configured_folder() -> Path:
    from pipeline.config.compose import composed, with_params
    from pipeline.system.paths import resolve

    return resolve(composed(with_params([])).cache_folder)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([\d.]+)\s*(B|KiB|MiB|GiB|TiB)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; give a number and B, KiB, MiB, GiB or TiB, such as 20GiB"
        )
    return round(float(match[1]) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(match[2]))


if __name__ == "__main__":
    main()
