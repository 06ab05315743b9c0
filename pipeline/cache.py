"""Show what a checkout holds on the disk, or prune its cache, with `python -m pipeline.cache`."""

import argparse
import re
from pathlib import Path

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_overrides, run_command
from pipeline.system.terminal import waiting

# Number of entries in a list without `--all`.
_LIMIT = 40


def main() -> None:
    """Show the sizes of what this checkout holds, and what the cache holds by experiment; or prune the cache."""
    parser = CommandParser(
        "cache",
        main.__doc__,
        examples=["", "--prune 20GiB --dry-run", "--all cache_folder=/data/cache"],
        keys=["cache_folder"],
    )
    parser.add_argument("--folder", type=Path, help="cache folder (default: cache_folder of the configuration)")
    parser.add_argument(
        "--prune",
        type=_bytes,
        metavar="SIZE",
        help="remove entries until the cache is not larger than SIZE, such as 20GiB or 500MB: first those that no job "
        "folder refers to, then those that were used longest ago",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what --prune would remove")
    parser.add_argument("--all", action="store_true", help=f"list all entries, not only {_LIMIT}")
    add_overrides(parser, "cache_folder=...")
    args = parser.parse_intermixed_args()
    if args.dry_run and args.prune is None:
        parser.error("--dry-run needs --prune SIZE")
    run_command(cache, args)


def cache(args: argparse.Namespace) -> None:
    """Prune the cache if requested, else show what the checkout holds; see `python -m pipeline.cache --help`.

    Raises:
        PipelineError: The cache can't be pruned, since it is not writable.
    """
    from pipeline.config.compose import configuration
    from pipeline.system.paths import resolve

    config = configuration(args.overrides)
    folder, limit = args.folder or resolve(config.cache_folder), None if args.all else _LIMIT
    # These imports are slow, and --help does not need them.
    with waiting("measuring files"):
        from pipeline.disk.contents import contents, job_folders
        from pipeline.disk.parts import parts
        from pipeline.disk.prune import prune
        from pipeline.disk.tables import print_contents, print_parts, print_pruned

        jobs = job_folders(folder)
        found = contents(folder, jobs)
        held = parts(config.tracking, folder, jobs, found) if args.prune is None else []
    if args.prune is None:
        print_parts(held, folder)
        print_contents(found, limit)
    else:
        pruned = prune(folder, found, args.prune, dry_run=args.dry_run)
        print_pruned(pruned, args.prune, limit=limit, dry_run=args.dry_run)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?))?B", text, re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"invalid size {text!r}; expected a number and a unit, such as 20GiB or 500MB")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return round(float(number) * base ** (" KMGT".index(prefix.upper()) if prefix else 0))


if __name__ == "__main__":
    main()
