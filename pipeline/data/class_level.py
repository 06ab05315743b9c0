"""Level of the class folders: whether the folders of a split are classes, or hold or are something else."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.data.split_names import is_series, split_of
from pipeline.data.tree import Folder, shown, sketch
from pipeline.system.errors import PipelineError
from pipeline.system.wording import setting, some


class LayoutError(PipelineError):
    """Error for folders whose meaning is unclear; it shows them as they were read."""

    def __init__(self, where: Path, tree: Folder, problem: str, remedy: str):
        self._parts = where, tree, problem, remedy
        super().__init__(*self._parts)

    def __str__(self) -> str:
        where, tree, problem, remedy = self._parts
        return f"{where}: {problem}. The folders, with images:\n{sketch(tree)}\n{remedy[0].upper()}{remedy[1:]}"


def check_level(home: Folder, homes: Mapping[str | None, Folder], where: Path) -> None:
    """Check that the folders in `home` are likely to be classes.

    Raises:
        LayoutError: There is a level too many, or the folders share the names of their sub-folders, as splits do.
    """
    inner = home.filled
    if len(inner) == 1 and len(_innermost(home).filled) > 1:
        raise _level_too_many(home, homes, where)
    holders = [each for each in inner if each.holds_folders]
    names = {_same(each.name) for each in inner}
    for each in holders:
        if len(names & _inner_names(each)) >= max(2, len(names) // 2):
            remedy = f"remove one of both, or read only one: {setting('dataset.splits.train', each.path)}"
            raise LayoutError(
                where / home.path, home, f"{shown(each.path)}/ has the same folders as its parent", remedy
            )
    if not _are_parts_of_classes(holders) and (pair := _sharing_pair(holders)):
        raise _unknown_splits(*pair, home, where)


def _innermost(folder: Folder) -> Folder:
    """Return the first folder below that has images or several folders."""
    while folder.holds_folders and len(folder.filled) == 1:
        folder = folder.filled[0]
    return folder


def _level_too_many(home: Folder, homes: Mapping[str | None, Folder], where: Path) -> LayoutError:
    inner = _innermost(home)
    names = some([f"{shown(each.name)}/" for each in inner.filled], 3)
    problem = f"there is a level too many: all images are in {shown(inner.path)}/ ({names})"
    use = setting("dataset.path", str(where / inner.path))
    if None not in homes:
        use = settings({split: _innermost(each) for split, each in homes.items()})
    return LayoutError(where / home.path, home, problem, f"use {use}")


def _are_parts_of_classes(holders: Sequence[Folder]) -> bool:
    """Return whether sub-folders are parts of classes, such as years or patients: only their names are a series."""
    inner = [each.name for holder in holders for each in holder.filled]
    return is_series(inner) and not is_series([each.name for each in holders])


def _sharing_pair(holders: Sequence[Folder]) -> tuple[Folder, Folder] | None:
    """Return the first two folders that share the names of their sub-folders."""
    owner: dict[str, Folder] = {}
    for each in holders:
        names = _inner_names(undoubled(each))
        for other in {owner[name].path: owner[name] for name in sorted(names) if name in owner}.values():
            if share(other, each):
                return other, each
        owner = dict.fromkeys(names, each) | owner
    return None


def _unknown_splits(first: Folder, second: Folder, home: Folder, where: Path) -> LayoutError:
    here, listed = where / home.path, f"{shown(first.name)}/ and {shown(second.name)}/"
    if all(split_of(each.name) for each in first.filled):
        problem = f"{listed} both have folders that are called like splits"
        remedy = f"use one of them, such as {setting('dataset.path', str(where / first.path))}"
        if not any(each.holds_folders for each in first.filled):
            remedy = "put the splits on top, as train/<class>/ and test/<class>/, or list the images in a table (dataset=csv)"
        return LayoutError(here, home, problem, remedy)
    pair: dict[str | None, Folder] = {"train": undoubled(first), "test": undoubled(second)}
    remedy = (
        f"if they are splits: {settings(pair)}; if not, dataset.class_level=leaf makes the sub-folders classes, and "
        "dataset.class_level=top the folders"
    )
    return LayoutError(here, home, f"{listed} have the same sub-folders, as splits do", remedy)


def remark_on_nesting(home: Folder) -> list[str]:
    """Return a remark if the sub-folders of class folders look like classes."""
    inner = home.filled
    nested = [each for each in inner if each.holds_folders and len(each.filled) > 1]
    named = [each for each in nested if not is_series([leaf.name for leaf in each.filled])]
    if not named or 2 * len(nested) < len(inner):
        return []
    leaves = [shown(each.name) for folder in named for each in folder.filled]
    return [
        f"The classes are the folders {some([shown(each.name) for each in inner], 3)}. If they are their sub-folders "
        f"({some(leaves, 3)}), use dataset.class_level=leaf; dataset.class_level=top confirms the folders"
    ]


def settings(homes: Mapping[str | None, Folder]) -> str:
    """Return the settings that name the folders of splits."""
    return " ".join(
        setting(f"dataset.splits.{split}", home.path) for split, home in sorted(homes.items(), reverse=True)
    )


def undoubled(split: Folder) -> Folder:
    """Return the folder with the classes of a split whose folder is there twice, as in `train/train/<class>`."""
    inner = split.filled
    if split.images or len(inner) != 1 or not inner[0].holds_folders:
        return split
    name = split_of(inner[0].name)
    doubled = _same(inner[0].name) == _same(split.name) or (name is not None and name == split_of(split.name))
    return undoubled(inner[0]) if doubled else split


def share(first: Folder, second: Folder) -> bool:
    """Return whether two folders have several sub-folders of the same names."""
    one, other = _inner_names(undoubled(first)), _inner_names(undoubled(second))
    shared = len(one & other)
    return shared > 1 and 2 * shared >= min(len(one), len(other))


def _inner_names(folder: Folder) -> set[str]:
    return {_same(each.name) for each in folder.filled}


def _same(name: str) -> str:
    return nfc(name).strip().casefold()


def nfc(name: str) -> str:
    """Return a name with composed accents."""
    return unicodedata.normalize("NFC", name)
