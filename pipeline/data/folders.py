"""Files in a folder and its sub-folders."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HIDDEN = "hidden"
"""Problem of files and folders whose names start with a dot, and of folders of file servers and tools."""
# Folders that file servers and tools create beside images, in lower case; so are all whose names start with a dot.
_TOOLS = {
    "__macosx", "@eadir", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap", "@tmp", "@appstore", "#recycle",
    "#snapshot", "~snapshot", "lost+found", "$recycle.bin", "recycler", "recycled", "found.000",
    "system volume information", "network trash folder", "temporary items", "__pycache__", "_gsdata_", "cvs",
}  # fmt: skip


class _Folder(NamedTuple):
    """Folder found by `walk`."""

    path: str
    """Path relative to the folder that is searched."""
    is_link: bool
    above: frozenset[tuple[int, int]]
    """Device and inode of each folder that contains it."""
    linked: set[tuple[int, int]] | None
    """Folders that were found through the same link; None outside links."""


def walk(folder: str | Path) -> Iterator[tuple[str, str | None]]:
    """Yield all files in `folder` and its sub-folders, sorted by name.

    Links are followed, except into a folder that contains them. Links below a link are followed once to each folder,
    since folders that are linked to each other have more paths than can be listed.

    Yields:
        (path, problem): Relative path with forward slashes, and the reason why it is passed over, or None.
    """
    stack: list[_Folder | tuple[str, str | None]] = [_Folder("", is_link=False, above=frozenset(), linked=None)]
    while stack:
        found = stack.pop()
        if not isinstance(found, _Folder):
            yield found
            continue
        try:
            stack += _children(folder, found)
        except OSError as error:
            yield found.path, f"folder that can't be read ({error.strerror})"


def _children(root: str | Path, folder: _Folder) -> list[_Folder | tuple[str, str | None]]:
    """Return the sub-folders and files of a folder, the last name first, or the reason why it is passed over."""
    place = os.path.join(root, folder.path)
    status = os.stat(place)
    here, linked = (status.st_dev, status.st_ino), folder.linked
    if here in folder.above:
        return [(folder.path, "link to a folder that contains it")]
    if folder.is_link:
        linked = set() if linked is None else linked
        if here in linked:
            return [(folder.path, "link to a folder that another link leads to")]
        linked.add(here)
    with os.scandir(place) as entries:
        children = sorted(entries, key=lambda child: child.name, reverse=True)
    prefix, above = f"{folder.path}/" if folder.path else "", folder.above | {here}
    found: list[_Folder | tuple[str, str | None]] = []
    for child in children:
        path = prefix + child.name
        if is_hidden(child.name):
            found.append((path, HIDDEN))
        elif is_folder(child):
            found.append(_Folder(path, child.is_symlink(), above, linked))
        else:
            found.append((path, None))
    return found


def is_folder(child: os.DirEntry) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return child.is_dir()
    except OSError:  # A link that refers to itself counts as an unreadable file.
        return False


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that file servers and tools create beside images."""
    return name.startswith(".") or name.lower() in _TOOLS
