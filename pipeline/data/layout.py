"""Layout of a data set's folders: which of them are splits, and on which level classes are.

Names alone do not decide it. A split contains class folders, and shares their names with other splits; a class contains
images.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import SplitFoldersConfig
from pipeline.data.split_names import is_container, is_series, is_unlabelled, split_of
from pipeline.data.tree import Folder, shown, sketch
from pipeline.system.errors import PipelineError
from pipeline.system.wording import setting, some

_USUAL = {"train", "training", "test", "testing", "validation", "valid", "val"}
_AS_CLASSES = "if they are classes, " + setting("dataset.splits.train", ".")


@dataclass(frozen=True)
class Layout:
    """Folders that contain the class folders."""

    homes: dict[str | None, Folder]
    """Folder of each split; the only key is None if the data set has no splits."""
    remarks: list[str] = field(default_factory=list)
    """Sentences about readings that may not be meant."""


class LayoutError(PipelineError):
    """Error for folders whose meaning is unclear; it shows them as they were read."""

    def __init__(self, where: Path, tree: Folder, problem: str, remedy: str):
        self._parts = where, tree, problem, remedy
        super().__init__(*self._parts)

    def __str__(self) -> str:
        where, tree, problem, remedy = self._parts
        return f"{where}: {problem}. The folders, with images:\n{sketch(tree)}\n{remedy[0].upper()}{remedy[1:]}"


def find_layout(tree: Folder, where: Path, splits: SplitFoldersConfig, class_level: str | None) -> Layout:
    """Decide which folders are splits.

    Args:
        tree: All folders.
        where: Path of the data set, for messages.
        splits: Configured folders of the splits.
        class_level: Setting `dataset.class_level`; only if it is None, the level of the classes is questioned.

    Raises:
        LayoutError: It is unclear which folders are splits or classes.
    """
    given = {split: name for split, name in vars(splits).items() if name}
    homes: dict[str | None, Folder] = {
        None if name == "." else split: _find(tree, where, f"dataset.splits.{split}", name)
        for split, name in given.items()
    }
    homes = homes or _own_splits(tree, where) or {None: tree}
    remarks = []
    if class_level is None:
        home = homes.get("train") or homes[None]
        if not (given and home is tree):
            _check_level(home, homes, where)
        remarks += _remark_on_nesting(home)
    unusual = [home for split, home in homes.items() if split and home.path.lower() not in _USUAL]
    if unusual and not given:
        remarks.append(f"read as splits: {', '.join(f'{home.path}/ ({split})' for split, home in homes.items())}")
    return Layout(homes, remarks)


def _find(tree: Folder, where: Path, key: str, name: str) -> Folder:
    """Find the folder that a setting names by its relative path."""
    found = tree
    for part in [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]:
        inner = next((each for each in found.folders if _nfc(each.name) == _nfc(part)), None)
        if inner is None:
            problem = f"{key}: {name!r} is not a folder there"
            raise LayoutError(where / found.path, found, problem, f"set {key} to a folder that is there")
        found = inner
    return found


def _own_splits(tree: Folder, where: Path) -> dict[str | None, Folder]:
    """Return the folders of the data set's own splits; empty if its folders are classes."""
    tops = tree.filled
    names = {each.name: split for each in tops if (split := split_of(each.name))}
    found = [(names[each.name], each) for each in tops if each.name in names and each.holds_folders]
    unnamed = [each for each in tops if each.name not in names and not is_unlabelled(each.name)]
    if "train" not in dict(found):
        alike = any(_share(each, other) for each in unnamed for _, other in found)
        if (found and (alike or not unnamed)) or (not unnamed and len(set(names.values())) > 1):
            raise _no_training_split(tree, where, names)
        return {}
    labelled = [(split, each) for split, each in found if split == "train" or _is_labelled(each)]
    homes: dict[str | None, Folder] = {split: _undoubled(each) for split, each in reversed(labelled)}
    if len(homes) < len(labelled):
        counts = Counter(split for split, _ in labelled)
        twice = [shown(each.name) for split, each in labelled if counts[split] > 1]
        remedy = f"keep one of these folders, or name the splits: {_settings(homes)}"
        raise LayoutError(where, tree, f"{' and '.join(twice)} are names of the same split", remedy)
    strange = [each for each in unnamed if len(homes) == 1 or _share(each, homes["train"])]
    if strange:
        train, listed = shown(homes["train"].path), some([f"{shown(each.name)}/" for each in strange])
        problem = f"{train}/ looks like a split, and {listed} may be splits or classes"
        remedy = f"name the splits, then other folders are left out: {_settings(homes)}; {_AS_CLASSES}"
        raise LayoutError(where, tree, problem, remedy)
    return homes


def _settings(homes: Mapping[str | None, Folder]) -> str:
    return " ".join(
        setting(f"dataset.splits.{split}", home.path) for split, home in sorted(homes.items(), reverse=True)
    )


def _no_training_split(tree: Folder, where: Path, names: Mapping[str, str]) -> LayoutError:
    listed = some([f"{shown(name)}/" for name in names])
    if not any(each.holds_folders for each in tree.filled):
        problem = f"{listed} look like splits, but have no class folders"
        remedy = f"sort the images into class folders, or list them in a table (dataset=csv); {_AS_CLASSES}"
        return LayoutError(where, tree, problem, remedy)
    others = [setting(f"dataset.splits.{split}", name) for name, split in names.items() if split != "train"]
    remedy = f"name the splits: dataset.splits.train=<folder> {' '.join(others[:2])}; {_AS_CLASSES}"
    return LayoutError(where, tree, f"{listed} look like splits, but no training split has class folders", remedy)


def _is_labelled(split: Folder) -> bool:
    """Return whether a folder that is called like a split has class folders, and not only a folder of all images."""
    inner = _undoubled(split).filled
    if len(inner) > 1 or inner[0].holds_folders:
        return True
    return not is_container(inner[0].name) and split_of(inner[0].name) != split_of(split.name)


def _undoubled(split: Folder) -> Folder:
    """Return the folder with the classes of a split whose folder is there twice, as in `train/train/<class>`."""
    inner = split.filled
    if split.images or len(inner) != 1 or not inner[0].holds_folders:
        return split
    name = split_of(inner[0].name)
    doubled = _same(inner[0].name) == _same(split.name) or (name is not None and name == split_of(split.name))
    return _undoubled(inner[0]) if doubled else split


def _check_level(home: Folder, homes: Mapping[str | None, Folder], where: Path) -> None:
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
    problem = (
        f"there is a level too many: all images of {shown(home.path) or 'it'} are in {shown(inner.path)}/ ({names})"
    )
    use = setting("dataset.path", str(where / inner.path))
    if None not in homes:
        use = _settings({split: _innermost(each) for split, each in homes.items()})
    return LayoutError(where / home.path, home, problem, f"use {use}")


def _are_parts_of_classes(holders: Sequence[Folder]) -> bool:
    """Return whether sub-folders are parts of classes, such as years or patients: only their names are a series."""
    inner = [each.name for holder in holders for each in holder.filled]
    return is_series(inner) and not is_series([each.name for each in holders])


def _sharing_pair(holders: Sequence[Folder]) -> tuple[Folder, Folder] | None:
    """Return the first two folders that share the names of their sub-folders."""
    owner: dict[str, Folder] = {}
    for each in holders:
        names = _inner_names(_undoubled(each))
        for other in {owner[name].path: owner[name] for name in sorted(names) if name in owner}.values():
            if _share(other, each):
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
    pair = {"train": _undoubled(first), "test": _undoubled(second)}
    remedy = (
        f"if they are splits: {_settings(pair)}; if not, dataset.class_level=leaf makes the sub-folders classes, and "
        "dataset.class_level=top the folders"
    )
    return LayoutError(here, home, f"{listed} have the same sub-folders, as splits do", remedy)


def _remark_on_nesting(home: Folder) -> list[str]:
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


def _share(first: Folder, second: Folder) -> bool:
    """Return whether two folders have several sub-folders of the same names."""
    one, other = _inner_names(_undoubled(first)), _inner_names(_undoubled(second))
    shared = len(one & other)
    return shared > 1 and 2 * shared >= min(len(one), len(other))


def _inner_names(folder: Folder) -> set[str]:
    return {_same(each.name) for each in folder.filled}


def _same(name: str) -> str:
    return _nfc(name).strip().casefold()


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
