"""Listing of a data set's images with their labels, from a folder of class folders."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.config import SplitFoldersConfig
from pipeline.data.class_names import canonical, check_class_names, spellings
from pipeline.data.layout import find_layout
from pipeline.data.tree import Folder, read_tree, shown
from pipeline.system.errors import PipelineError
from pipeline.system.wording import some

ENDINGS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".jpx", ".jpf", ".j2k", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
}
"""Endings of file names that are taken for images in folders, in lower case."""
NO_SPLITS = SplitFoldersConfig(train=None, validation=None, test=None)
"""Configuration that names no folders of splits."""


class LabelledImage(NamedTuple):
    """Image file of a data set, with its label."""

    path: str
    """Path relative to the data set's folder, with forward slashes."""
    label: str
    """Name of the image's class."""
    split: str | None
    """train, validation or test; None if the data set has no splits."""
    group: str | None = None
    """Group of images that must stay in one split; None if the data set has no groups."""


@dataclass(frozen=True)
class Listing:
    """Images and classes of a data set."""

    images: list[LabelledImage]
    """Images, sorted by path."""
    classes: list[str]
    """Sorted class names, including classes without an image."""
    left_out: dict[str, int]
    """Number of skipped files by reason."""
    remarks: list[str] = field(default_factory=list)
    """Sentences about readings that may not be meant."""
    absent: str = ""
    """Error message if none of the listed files is there."""


def list_folder(folder: Path, splits: SplitFoldersConfig = NO_SPLITS, class_level: str | None = None) -> Listing:
    """List all images below `folder`, sorted by path.

    Args:
        folder: Folder of class folders, or of splits with class folders.
        splits: Folder of each split. If it names none, the layout of the folders decides, see `pipeline.data.layout`.
        class_level: top if the folders of a split are classes, leaf if the innermost ones are. None is top, with errors
            and remarks where that may not be meant.

    Raises:
        PipelineError: There are no images, fewer than two classes, classes that look alike, or unclear or contradictory
            splits.
    """
    tree = read_tree(folder, ENDINGS)
    layout = find_layout(tree, folder, splits, class_level)
    images: list[LabelledImage] = []
    places: dict[str, str] = {}
    classes: dict[str | None, set[str]] = {}
    spelled: list[str] = []
    for split, home in layout.homes.items():
        for each in _class_folders(home, leaf=class_level == "leaf"):
            label = canonical(each.name)
            places.setdefault(label, f"{shown(each.path)}/")
            classes.setdefault(split, set()).add(label)
            spelled.append(each.name)
            images += [LabelledImage(path, label, split) for path in _images_of(each, leaf=class_level == "leaf")]
    if not images:
        raise PipelineError(_without_images(folder, tree))
    check_class_names(str(folder), places, "sub-folder")
    training = classes.get("train") or classes.get(None, set())
    for split, names in classes.items():
        extra = [repr(name) for name in sorted(names - training)]
        if extra:
            raise PipelineError(
                f"{folder}: {split}/ has classes that train/ lacks: {some(extra)}; rename or remove them"
            )
    left_out = sum((each.left_out for each in tree.below()), Counter())
    for reason, count in _outside(tree, [*layout.homes.values()]):
        left_out[reason] += count
    return Listing(sorted(images), sorted(training), dict(left_out), layout.remarks + spellings(spelled))


def _class_folders(home: Folder, *, leaf: bool) -> Iterator[Folder]:
    for each in home.folders:
        if leaf:
            yield from (inner for inner in each.below() if inner.images or not inner.folders)
        else:
            yield each


def _images_of(folder: Folder, *, leaf: bool) -> Iterator[str]:
    for each in [folder] if leaf else folder.below():
        yield from each.image_paths()


def _outside(folder: Folder, homes: list[Folder]) -> Iterator[tuple[str, int]]:
    """Yield the numbers of images that are in no class folder, with the reason."""
    if folder.images:
        yield "outside the class folders", len(folder.images)
    if folder in homes:
        return
    for each in folder.folders:
        if any(f"{home.path}/".startswith(f"{each.path}/") for home in homes):
            yield from _outside(each, homes)
        elif each.total:
            yield f"in {shown(each.path)}/, which is not read as a split", each.total


def _without_images(folder: Path, tree: Folder) -> str:
    found = "the folder is empty"
    if tree.total:
        found = f"its {tree.total} images are not in folders of classes"
    elif other := sum((each.left_out for each in tree.below()), Counter()):
        found = "it has no images, but " + some(
            [f"{count} files with {reason}" for reason, count in other.most_common()], 3
        )
    return (
        f"{folder}: {found}. Expected <class>/<image> or train/<class>/<image>, with "
        f"the endings {' '.join(sorted(ENDINGS))}"
    )
