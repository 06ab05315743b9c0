"""Listing of a data set's images with their labels, from a folder or from a CSV file with one row per image."""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.config import ColumnsConfig
from pipeline.data.folders import HIDDEN, is_hidden, walk
from pipeline.system.errors import PipelineError

ENDINGS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".jpx", ".jpf", ".j2k", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
}
"""Endings of file names that are taken for images in folders, in lower case."""
SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}
"""Map from the names of splits in data sets, in lower case, to train, validation or test."""


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


def list_folder(folder: Path) -> Listing:
    """List all images below `folder`, sorted by path.

    If a folder `train/` has class sub-folders, the sub-folders named in `SPLIT_ALIASES` are splits, such as `test/` and
    `val/`. Otherwise each sub-folder is a class. A class may have nested folders.

    Raises:
        PipelineError: There are no images, fewer than two classes, classes that differ only in case, or contradictory
            splits.
    """
    split_folders = _split_folders(folder)
    depth = 2 if split_folders else 1
    classes = {split: _folder_names(folder / home) for home, split in split_folders.items()}
    training = sorted(classes["train"] if split_folders else _folder_names(folder))
    images: list[LabelledImage] = []
    left_out: dict[str, int] = {}
    for path, problem in walk(folder):
        if problem == HIDDEN:
            continue
        parts = path.split("/")
        ending = os.path.splitext(path)[1].lower()
        if not problem and ending not in ENDINGS:
            problem = f"ending {ending or '(none)'}"
        if not problem and (len(parts) <= depth or (split_folders and parts[0] not in split_folders)):
            problem = "outside the class folders"
        if problem:
            left_out[problem] = left_out.get(problem, 0) + 1
        else:
            images.append(LabelledImage(path, parts[depth - 1], split_folders.get(parts[0])))
    if not images:
        raise PipelineError(
            f"{folder} has no images in class sub-folders; allowed endings are {' '.join(sorted(ENDINGS))}"
        )
    _check_classes(str(folder), training, "sub-folder")
    for split, names in classes.items():
        extra = sorted(names - set(training))
        if extra:
            raise PipelineError(
                f"{folder}: {split}/ has classes that train/ lacks: {', '.join(map(repr, extra))}; rename or remove them"
            )
    return Listing(images, training, left_out)


def _split_folders(folder: Path) -> dict[str, str]:
    """Return the splits of a data set by sub-folder name; empty unless the training folder has sub-folders."""
    names = _folder_names(folder)
    splits = {name: SPLIT_ALIASES[name.lower()] for name in sorted(names) if name.lower() in SPLIT_ALIASES}
    if not any(_folder_names(folder / name) for name, split in splits.items() if split == "train"):
        return {}
    twice = sorted(name for name, split in splits.items() if list(splits.values()).count(split) > 1)
    if twice:
        raise PipelineError(f"{folder}: {' and '.join(twice)} are names of the same split; keep one of these folders")
    return splits


def _folder_names(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir() if child.is_dir() and not is_hidden(child.name)}


def list_table(file: Path, columns: ColumnsConfig, groups: str | None) -> Listing:
    """List the images of a CSV file, sorted by path.

    Args:
        file: CSV file with one row per image.
        columns: Names of its columns; the split column is optional.
        groups: Name of the column with groups, or None.

    Raises:
        PipelineError: Columns or values are missing, a path occurs twice, or the classes can't be used.
    """
    images, problems = [], []
    for number, row in _rows(file, [columns.path, columns.label, *filter(None, [groups])]):
        path, label = row[columns.path] or "", row[columns.label] or ""
        split_name = row.get(columns.split) or None if columns.split else None
        split = SPLIT_ALIASES.get(split_name.lower()) if split_name else None
        if not path or not label:
            problems.append(f"row {number} has no {columns.label if path else columns.path}")
        elif split_name and split is None:
            problems.append(f"row {number} has the split {split_name!r}; allowed splits are {', '.join(SPLIT_ALIASES)}")
        elif groups and not row[groups]:
            problems.append(f"row {number} has no {groups}")
        images.append(LabelledImage(path, label, split, row[groups] if groups else None))
    if not images:
        problems.append("the file has no rows")
    problems += [
        f"{path!r} occurs in {count} rows" for path, count in Counter(p.path for p in images).items() if count > 1
    ]
    without = [image.path for image in images if image.split is None]
    if 0 < len(without) < len(images):
        problems.append(
            f"{len(without)} rows have no {columns.split}, such as {without[0]!r}; fill in this column in all rows or in none"
        )
    training = {image.label for image in images if image.split in (None, "train")}
    extra = sorted({image.label for image in images} - training)
    if extra and not problems:
        problems.append(f"no training row has these classes: {', '.join(map(repr, extra))}")
    if problems:
        more = f"\n  and {len(problems) - 10} more" * (len(problems) > 10)
        raise PipelineError(f"{file} can't be used:\n" + "\n".join(f"  - {each}" for each in problems[:10]) + more)
    _check_classes(str(file), sorted(training), "row")
    return Listing(sorted(images), sorted(training), {})


def _rows(file: Path, needed: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of a CSV file with its row number; the header is row 1."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise PipelineError(
                    f"{file} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(reader.fieldnames or ()) or 'none'}. "
                    "Set the names in dataset.columns and dataset.groups"
                )
            yield from enumerate(reader, start=2)
    except (UnicodeDecodeError, csv.Error) as error:
        raise PipelineError(f"{file} is not a CSV file in UTF-8: {error}") from error


def _check_classes(where: str, names: list[str], home: str) -> None:
    """Check that there are at least two training classes, and that their names are distinct and printable.

    Args:
        where: Name of the data set for error messages.
        names: Class names, sorted.
        home: Source of the class names for error messages, sub-folder or row.

    Raises:
        PipelineError: There are fewer than two classes, names that differ only in case, or names that can't be printed.
    """
    if len(names) < 2:
        raise PipelineError(
            f"{where} has only one class ({', '.join(names)}); a classifier needs {home}s of at least two classes"
        )
    by_case: dict[str, str] = {}
    for name in names:
        twin = by_case.setdefault(name.casefold(), name)
        if twin != name:
            raise PipelineError(
                f"{where}: the classes {twin!r} and {name!r} differ only in case; rename or merge these classes"
            )
    unreadable = [name for name in names if not name.isprintable()]
    if unreadable:
        raise PipelineError(f"{where}: these class names can't be printed: {unreadable!a}; rename the classes")
