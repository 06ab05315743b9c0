"""Files in a folder and its sub-folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HIDDEN = "hidden"
"""Problem of files and folders whose names start with a dot, and of folders of file servers and tools."""
# Folders that file servers and tools create beside images, in lower case; so are all whose names start with a dot.
_TOOLS = {
    "__macosx", "@eadir", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap", "@tmp", "@appstore", "#recycle",
    "#snapshot", "~snapshot", "lost+found", "$recycle.bin", "recycler", "recycled", "found.000",
    "system volume information", "network trash folder", "temporary items", "__pycache__", "_gsdata_", "cvs",
}  # fmt: skip
_DEEPEST = 100


class SkippedFolderError(Exception):
    """Folder whose content is not read, with the reason."""


@dataclass(frozen=True)
class Way:
    """Way from the folder that is searched to a folder below it."""

    place: str
    """Path of the folder."""
    above: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of each folder that contains it."""
    linked: set[tuple[int, int]] | None = None
    """Folders that were found through the same link; None outside links."""
    is_link: bool = False
    """Whether the way ends with a link."""

    def children(self) -> list[tuple[os.DirEntry[str], "Way | None"]]:
        """Return the entries of the folder, sorted by name, each with the way to it if it is a folder.

        Links are followed, except into a folder that contains them. Links below a link are followed once to each
        folder, since folders that are linked to each other have more paths than can be read.

        Raises:
            SkippedFolderError: The folder was read before, lies too deep or can't be read.
        """
        linked = self.linked
        try:
            status = os.stat(self.place)
            here = (status.st_dev, status.st_ino)
            if here in self.above:
                raise SkippedFolderError("link to a folder that contains it")
            if len(self.above) > _DEEPEST:
                raise SkippedFolderError(f"folder below {_DEEPEST} others")
            if self.is_link:
                linked = set() if linked is None else linked
                if here in linked:
                    raise SkippedFolderError("link to a folder that another link leads to")
                linked.add(here)
            with os.scandir(self.place) as entries:
                children = sorted(entries, key=lambda child: child.name)
        except OSError as error:
            raise SkippedFolderError(f"folder that can't be read ({error.strerror})") from error
        above = self.above | {here}
        return [
            (child, Way(child.path, above, linked, child.is_symlink()) if is_folder(child) else None)
            for child in children
        ]


def walk(folder: str | Path) -> Iterator[tuple[str, str | None]]:
    """Yield all files in `folder` and its sub-folders, sorted by name.

    Yields:
        (path, problem): Relative path with forward slashes, and the reason why it is passed over, or None.
    """
    yield from _walk(Way(os.fspath(folder)), "")


def _walk(way: Way, path: str) -> Iterator[tuple[str, str | None]]:
    try:
        children = way.children()
    except SkippedFolderError as reason:
        yield path, str(reason)
        return
    for child, inner in children:
        below = f"{path}/{child.name}" if path else child.name
        if is_hidden(child.name):
            yield below, HIDDEN
        elif inner:
            yield from _walk(inner, below)
        else:
            yield below, None


def is_folder(child: os.DirEntry) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return child.is_dir()
    except OSError:  # A link that refers to itself counts as an unreadable file.
        return False


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that file servers and tools create beside images."""
    return name.startswith(".") or name.lower() in _TOOLS
