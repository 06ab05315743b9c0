"""Files that the rows of a table name by paths, partial paths or ids."""

import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pipeline.data.folders import is_folder, is_hidden
from pipeline.data.listing import ENDINGS
from pipeline.system.errors import PipelineError
from pipeline.system.wording import setting, short, some

ANY_ENDING = ".*"
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")
# Numbers of rows that are compared with files for a suggestion, and of files and folders beside the table and above it.
_SAMPLE, _MOST_BESIDE, _MOST_ABOVE = 200, 200_000, 20_000


def find_files(table: Path, column: str, names: Sequence[str], pattern: str | None) -> tuple[list[str], str]:
    """Find the file of each row.

    A name is read as it is, or else without blanks at its ends, or else with backslashes as separators.

    Args:
        table: CSV file.
        column: Name of the column with the names.
        names: Path, partial path or id of each row.
        pattern: Path with a star for the name (`dataset.images`); None: names are paths.

    Returns:
        (paths, problem): Path of each file relative to the folder of the table, with forward slashes. The problem is an
        error message if none of the files is there, else empty.

    Raises:
        PipelineError: An id belongs to several files.
    """
    files = _Files(table.parent)
    found = [files.find(name, pattern) for name in names]
    problem = "" if any(found) or not names else _all_missing(table, column, names, pattern)
    return [path or _readings(name, pattern)[-1] for path, name in zip(found, names, strict=True)], problem


class _Files:
    """Files by path; each folder is read once."""

    def __init__(self, base: Path):
        self._base = base
        self._folders: dict[str, dict[str, str]] = {}

    def find(self, name: str, pattern: str | None) -> str | None:
        """Return the path of the file that a name stands for, or None if it is not there."""
        return next(filter(None, map(self._path, _readings(name, pattern))), None)

    def _path(self, path: str) -> str | None:
        home, _, name = path.rpartition("/")
        if home not in self._folders:
            self._folders[home] = {unicodedata.normalize("NFC", each): each for each in self._names(path, home)}
        there = self._folders[home]
        if path.endswith(ANY_ENDING):
            stem = unicodedata.normalize("NFC", name.removesuffix(ANY_ENDING))
            several = [there[stem + end] for end in _all_endings() if stem + end in there]
            if len(several) > 1:
                raise PipelineError(
                    f"dataset.images: {path!r} stands for several files: {some(several)}; use a pattern with an ending"
                )
            return posixpath.join(home, several[0]) if several else None
        if found := there.get(unicodedata.normalize("NFC", name)):
            return path[: len(path) - len(name)] + found
        # Not all file systems distinguish upper and lower case.
        return path if there and self._exists(path) else None

    def _names(self, path: str, home: str) -> list[str]:
        try:
            with os.scandir(self._base / (home or ("/" if path.startswith("/") else "."))) as entries:
                return [entry.name for entry in entries if not is_folder(entry)]
        except (OSError, ValueError):
            return []

    def _exists(self, path: str) -> bool:
        try:
            return (self._base / path).is_file()
        except (OSError, ValueError):
            return False


def _all_endings() -> list[str]:
    return sorted(ENDINGS) + sorted(ending.upper() for ending in ENDINGS)


def _readings(name: str, pattern: str | None) -> list[str]:
    """Return the paths that a name may stand for, the most literal one first."""
    literal = list(dict.fromkeys([name, name.strip(), name.strip().replace("\\", "/")]))
    paths = literal if pattern is None else [pattern.replace("*", each, 1) for each in literal]
    return [path if _ADDRESS.match(path) else posixpath.normpath(path) for path in paths]


def _all_missing(table: Path, column: str, names: Sequence[str], pattern: str | None) -> str:
    first = _readings(names[0], pattern)[-1]
    hint = _suggestion(table, column, names) or f"correct the column {column}, or use dataset.images=<folder>/*<ending>"
    if _ADDRESS.match(names[0]):
        hint = f"download the images, and write their paths into the column {column}"
    return (
        f"{table}: {len(names):,} of {len(names):,} files are not there, first {short(first)}; looked in {table.parent}. "
        f"{hint[0].upper()}{hint[1:]}"
    )


def _suggestion(table: Path, column: str, names: Sequence[str]) -> str | None:
    """Return how the names become paths of files beside the table, or in the folder above, if they can."""
    sample = [_readings(name, None)[-1] for name in names[:: max(1, len(names) // _SAMPLE)]]
    for above, most in (("", _MOST_BESIDE), ("../", _MOST_ABOVE)):
        by_name = _files_by_name(table.parent / above, above, most)
        pairs = [
            (name, path) for name in sample for path in by_name.get(posixpath.basename(name).casefold(), ())
        ]  # fmt: skip
        files = _Files(table.parent)
        for pattern in _best(Counter(filter(None, (_pattern(*pair) for pair in pairs)))):
            count = sum(files.find(name, pattern) is not None for name in names)
            # Files elsewhere may have the same names by chance.
            if count == len(names) or (count and not above):
                return f"use {setting('dataset.images', pattern)}, which finds {count:,} of {len(names):,}"
        for name, path in pairs:
            if above or _pattern(name, path) is not None:
                continue
            if path.casefold().endswith(name.casefold()):
                return f"{short(path)} is there: use the same upper and lower case in the column {column}"
            old, new = _prefixes(name, path)
            by = f"replace it by {new!r}" if new else "remove it"
            return f"without {old!r} at the start, files are there: {by} in the column {column}"
    return None


def _pattern(name: str, path: str) -> str | None:
    """Return the pattern that turns a name into a path, if the path ends with the name, with or without an ending."""
    for end in ("", posixpath.splitext(path)[1]):
        if path.endswith(name + end):
            return f"{path.removesuffix(name + end)}*{end}"
    return None


def _best(patterns: Counter[str]) -> Iterator[str]:
    """Yield the patterns to try: one for all endings if files of a folder differ in them, then the commonest one."""
    if not patterns:
        return
    [(most, _)] = patterns.most_common(1)
    home = most.partition("*")[0]
    if len({each for each in patterns if each.partition("*")[0] == home}) > 1:
        yield f"{home}*{ANY_ENDING}"
    yield most


def _prefixes(name: str, path: str) -> tuple[str, str]:
    """Return what precedes the common end of a name in a table and the path of a file: the file's name at least."""
    parts, others = name.split("/"), path.split("/")
    same = 1
    while same < min(len(parts), len(others)) and parts[-1 - same] == others[-1 - same]:
        same += 1
    old, new = parts[: len(parts) - same], others[: len(others) - same]
    return "".join(f"{part}/" for part in old), "".join(f"{part}/" for part in new)


def _files_by_name(folder: Path, prefix: str, most: int) -> dict[str, list[str]]:
    """Return the first image files below a folder, by their names and by their names without endings, in lower case."""
    found: dict[str, list[str]] = {}
    for path in islice(_paths_below(folder, prefix), most):
        stem, ending = posixpath.splitext(posixpath.basename(path).casefold())
        if ending in ENDINGS:
            for key in (stem, stem + ending):
                found.setdefault(key, []).append(path)
    return found


def _paths_below(folder: Path, prefix: str) -> Iterator[str]:
    for home, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not is_hidden(name))
        relative = Path(home).relative_to(folder).as_posix()
        start = prefix if relative == "." else f"{prefix}{relative}/"
        yield from (start + name for name in [*inner, *sorted(files)])
