"""Which pictures are asked about: files, folders, patterns, and a list on standard input."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator

from pipeline.data.listing import ENDINGS

STANDARD_INPUT = "-"


def requested(given: Iterable[str]) -> Iterator[str]:
    """The files that words of the command line mean, in that order; those of a folder, at any depth, by name.

    A word that means no file comes back as it is, so that its row can say so. `-` is a list of paths on standard input, one a line.
    """
    for word in given:
        if word == STANDARD_INPUT:
            for line in sys.stdin:
                if path := line.rstrip("\r\n"):
                    yield from _in_folder(path)
        elif not os.path.lexists(word) and glob.has_magic(word):
            for match in sorted(glob.glob(word, recursive=True)) or [word]:  # noqa: PTH207 (a Path knows no absolute patterns)
                yield from _in_folder(match)
        else:
            yield from _in_folder(word)


def _in_folder(path: str) -> Iterator[str]:
    """The pictures in a folder; else, and where it has none, the path itself."""
    empty = True
    for folder, inner, files in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith("."):  # noqa: PTH122 (a Path each takes ten times as long)
                empty = False
                yield os.path.join(folder, name)  # noqa: PTH118
    if empty:
        yield path
