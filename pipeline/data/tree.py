"""Tree of the folders below a data set's folder, with the images in each of them."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.data.folders import SkippedFolderError, Way, is_hidden
from pipeline.system.wording import some

# Tools' folders that are not counted, since they may hold copies of everything.
_UNCOUNTED = {"#snapshot", "~snapshot", "@recently-snapshot", "@sharesnap"} | {
    f".{name}" for name in ("snapshot", "snapshots", "zfs", "git", "dvc", "hg", "svn", "venv")
}
_LINES, _ITEMS = 5, 3


@dataclass
class Folder:
    """Folder with the images and folders in it, without folders of file servers and tools."""

    name: str
    path: str
    """Path relative to the data set's folder, with forward slashes; empty for the folder itself."""
    images: list[str] = field(default_factory=list)
    """Names of the image files directly in the folder, sorted."""
    folders: list["Folder"] = field(default_factory=list)
    """Sub-folders, sorted by name."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of other files directly in the folder, and of images in folders of tools, by reason."""

    @cached_property
    def total(self) -> int:
        """Number of images in the folder and below."""
        return len(self.images) + sum(each.total for each in self.folders)

    @property
    def filled(self) -> list["Folder"]:
        """Sub-folders that contain images."""
        return [each for each in self.folders if each.total]

    @property
    def holds_folders(self) -> bool:
        """True if most of the images are in sub-folders."""
        return 2 * len(self.images) < self.total

    def below(self) -> Iterator["Folder"]:
        """Yield the folder, and all folders below it."""
        yield self
        for each in self.folders:
            yield from each.below()

    def image_paths(self) -> Iterator[str]:
        """Yield the relative paths of the images directly in the folder."""
        return (f"{self.path}/{name}" if self.path else name for name in self.images)


def read_tree(folder: Path, endings: Collection[str]) -> Folder:
    """Read all folders below `folder`; see `Way.children` for links. Hidden files are skipped.

    Args:
        folder: Folder to search.
        endings: Endings of image files, in lower case.
    """
    return _read(Way(os.fspath(folder)), Folder(folder.name, ""), endings)


def _read(way: Way, folder: Folder, endings: Collection[str]) -> Folder:
    """Fill an empty folder from its place on disk."""
    try:
        children = way.children()
    except SkippedFolderError as reason:
        folder.left_out[str(reason)] += 1
        return folder
    for child, below in children:
        ending = os.path.splitext(child.name)[1].lower()  # noqa: PTH122 (pathlib takes ten times as long)
        if below:
            inner = Folder(child.name, f"{folder.path}/{child.name}" if folder.path else child.name)
            if child.name.lower() in _UNCOUNTED:
                continue
            _read(below, inner, endings)
            if not is_hidden(child.name):
                folder.folders.append(inner)
            elif inner.total:
                folder.left_out[f"in {shown(child.name)}/, a hidden folder or one of a tool"] += inner.total
        elif child.name.startswith("."):
            continue
        elif ending in endings:
            folder.images.append(child.name)
        else:
            folder.left_out[f"ending {shown(ending) or '(none)'}"] += 1
    return folder


def shown(name: str) -> str:
    """Return a name as it is shown in messages, with escapes for what can't be printed."""
    return name if name.isprintable() else ascii(name)[1:-1]


def sketch(folder: Folder) -> str:
    """Draw the first folders and their sub-folders, with numbers of images, one line per folder."""
    lines = [f"  {shown(each.name)}/: {_content(each)}" for each in folder.folders[:_LINES]]
    if len(folder.folders) > _LINES:
        lines.append(f"  and {len(folder.folders) - _LINES} more folders")
    return "\n".join(lines)


def _content(folder: Folder) -> str:
    parts = [some([f"{shown(each.name)}/ ({each.total})" for each in folder.filled], _ITEMS)] if folder.filled else []
    if folder.images or not parts:
        parts.append(f"{len(folder.images)} images")
    return ", ".join(parts)
