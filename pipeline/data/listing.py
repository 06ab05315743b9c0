"""Which pictures a data set has: labels from folder names, splits where they are given."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pipeline.checkout import resolve
from pipeline.config import DatasetConfig
from pipeline.errors import PipelineError

ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}


@dataclass(frozen=True)
class Picture:
    """A file with a picture's ending inside a class folder."""

    path: str
    """Relative to the data set's folder, with forward slashes."""
    label: str
    split: str | None
    """train, validation or test; None where the data set gives no splits."""


@dataclass(frozen=True)
class Listing:
    """What lies in a data set's folder."""

    pictures: list[Picture]
    classes: list[str]
    """Sorted by name; folders without a picture among them."""
    left_out: dict[str, int]
    """Why other files were left out, and how many."""


def pictures_folder(dataset: DatasetConfig) -> Path:
    """The folder that a data set's pictures lie in; the data set that the pipeline brings along is written there first.

    Raises:
        PipelineError: the folder does not exist, or is not one.
    """
    if dataset.name == "digits":
        from pipeline.data.digits import write_digits

        return write_digits(resolve("data/digits"))
    folder = resolve(dataset.path)
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise PipelineError(
            f"dataset.path: {dataset.path!r} {kind} (looked at {folder}); give a folder with one sub-folder of pictures a class"
        )
    return folder


def listing_digest(dataset: DatasetConfig) -> str:
    """sha256 over path, size and modification time of each picture: changes when pictures come, go or change."""
    digest = hashlib.sha256(dataset.name.encode())
    if dataset.name == "digits":
        digest.update(version("scikit-learn").encode())
        return digest.hexdigest()
    folder = pictures_folder(dataset)
    for path in _files(folder):
        if path.suffix.lower() in ENDINGS:
            status = path.stat() if path.exists() else path.lstat()
            digest.update(
                os.fsencode(f"{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n")
            )
    return digest.hexdigest()


def list_pictures(folder: Path) -> Listing:
    """All pictures below `folder`, sorted by path.

    The layout is read off the folder: `train/` with class sub-folders makes it one with splits (also `test/`, `validation/`, `val/`);
    else each sub-folder is a class. A class may hold nested folders.

    Raises:
        PipelineError: no pictures, fewer than two classes, classes that differ only in case, or splits that contradict each other.
    """
    split_folders = _split_folders(folder)
    homes = split_folders or {folder: None}
    pictures, left_out, classes = [], {}, {}
    for home, split in homes.items():
        classes[split] = classes.get(split, set()) | {child.name for child in _folders(home)}
    for file in _files(folder):
        relative = file.relative_to(folder).parts
        depth = 2 if split_folders else 1
        home = folder / relative[0] if split_folders else folder
        if file.suffix.lower() not in ENDINGS:
            reason = f"ending {file.suffix.lower() or '(none)'}"
        elif home not in homes or len(relative) <= depth:
            reason = "outside the class folders"
        else:
            pictures.append(Picture("/".join(relative), relative[depth - 1], homes[home]))
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    training = sorted(classes.get("train") or classes.get(None) or ())
    _refuse(folder, pictures, training, classes)
    return Listing(pictures, training, left_out)


def _refuse(folder: Path, pictures: list[Picture], training: list[str], classes: dict[str | None, set[str]]) -> None:
    """Raise what makes a folder useless, with what to do."""
    if not pictures:
        raise PipelineError(
            f"{folder} holds no pictures in class sub-folders; allowed endings are {' '.join(sorted(ENDINGS))}"
        )
    if len(training) < 2:
        raise PipelineError(
            f"{folder} holds one class only ({', '.join(training)}); a classifier needs two sub-folders at least, one a class"
        )
    by_case: dict[str, str] = {}
    for name in training:
        twin = by_case.setdefault(name.casefold(), name)
        if twin != name:
            raise PipelineError(
                f"{folder}: the classes {twin!r} and {name!r} differ only in case; rename or merge their folders"
            )
    unreadable = [name for name in training if not name.isprintable()]
    if unreadable:
        raise PipelineError(f"{folder}: class names that can't be printed: {unreadable!a}; rename their folders")
    for split, names in classes.items():
        extra = sorted(names - set(training))
        if extra:
            raise PipelineError(
                f"{folder}: {split}/ has classes that train/ has not: {', '.join(map(repr, extra))}; rename or remove them"
            )


def _split_folders(folder: Path) -> dict[Path, str]:
    """The sub-folders that are splits, where `train` is one of them and holds folders; else none."""
    found = {child: SPLITS[child.name.lower()] for child in _folders(folder) if child.name.lower() in SPLITS}
    homes = [child for child, split in found.items() if split == "train"]
    if not homes or not any(_folders(home) for home in homes):
        return {}
    twice = sorted(child.name for child, split in found.items() if list(found.values()).count(split) > 1)
    if twice:
        raise PipelineError(f"{folder}: {' and '.join(twice)} name the same split; keep one of them")
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _hidden(child.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _files(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Every visible file below `folder`, sorted; links are followed, but into no folder that holds them."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for child in sorted(folder.iterdir()):
        if _hidden(child.name):
            continue
        if child.is_dir():
            yield from _files(child, above | {here})
        else:
            yield child
