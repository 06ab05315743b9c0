"""Layout of a data set's folders: which of them are splits, and on which level classes are.

Names alone do not decide it. A split contains class folders, and shares their names with other splits; a class contains
images.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import SplitFoldersConfig
from pipeline.data.class_level import LayoutError, check_level, nfc, remark_on_nesting, settings, share, undoubled
from pipeline.data.split_names import is_container, is_unlabelled, split_of
from pipeline.data.tree import Folder, shown
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
            check_level(home, homes, where)
        remarks += remark_on_nesting(home)
    unusual = [home for split, home in homes.items() if split and home.path.lower() not in _USUAL]
    if unusual and not given:
        remarks.append(f"read as splits: {', '.join(f'{home.path}/ ({split})' for split, home in homes.items())}")
    return Layout(homes, remarks)


def _find(tree: Folder, where: Path, key: str, name: str) -> Folder:
    """Find the folder that a setting names by its relative path."""
    found = tree
    for part in [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]:
        inner = next((each for each in found.folders if nfc(each.name) == nfc(part)), None)
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
        alike = any(share(each, other) for each in unnamed for _, other in found)
        if (found and (alike or not unnamed)) or (not unnamed and len(set(names.values())) > 1):
            raise _no_training_split(tree, where, names)
        return {}
    labelled = [(split, each) for split, each in found if split == "train" or _is_labelled(each)]
    homes: dict[str | None, Folder] = {split: undoubled(each) for split, each in reversed(labelled)}
    if len(homes) < len(labelled):
        counts = Counter(split for split, _ in labelled)
        twice = [shown(each.name) for split, each in labelled if counts[split] > 1]
        remedy = f"keep one of these folders, or name the splits: {settings(homes)}"
        raise LayoutError(where, tree, f"{' and '.join(twice)} are names of the same split", remedy)
    strange = [each for each in unnamed if len(homes) == 1 or share(each, homes["train"])]
    if strange:
        train, listed = shown(homes["train"].path), some([f"{shown(each.name)}/" for each in strange])
        problem = f"{train}/ looks like a split, and {listed} may be splits or classes"
        remedy = f"name the splits, then other folders are left out: {settings(homes)}; {_AS_CLASSES}"
        raise LayoutError(where, tree, problem, remedy)
    return homes


def _no_training_split(tree: Folder, where: Path, names: Mapping[str, str]) -> LayoutError:
    listed = some([f"{shown(name)}/" for name in names])
    if not any(each.holds_folders for each in tree.filled):
        problem = f"there are folders of splits ({listed}), but they have no class folders"
        remedy = f"sort the images into class folders, or list them in a table (dataset=csv); {_AS_CLASSES}"
        return LayoutError(where, tree, problem, remedy)
    others = [setting(f"dataset.splits.{split}", name) for name, split in names.items() if split != "train"]
    remedy = f"name the splits: dataset.splits.train=<folder> {' '.join(others[:2])}; {_AS_CLASSES}"
    return LayoutError(
        where, tree, f"there are folders of splits ({listed}), but no training split with class folders", remedy
    )


def _is_labelled(split: Folder) -> bool:
    """Return whether a folder that is called like a split has class folders, and not only a folder of all images."""
    inner = undoubled(split).filled
    if len(inner) > 1 or inner[0].holds_folders:
        return True
    return not is_container(inner[0].name) and split_of(inner[0].name) != split_of(split.name)
