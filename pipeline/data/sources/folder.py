"""Images in folders: labels from folder names, splits where they are given."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.listing import SPLITS, LabelledImage, Listing, refuse_classes
from pipeline.system.errors import PipelineError

ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}


def list_folder(folder: Path) -> Listing:
    """All images below `folder`, sorted by path.

    The layout is read off the folder: `train/` with class sub-folders makes it one with splits (also `test/`, `validation/`, `val/`);
    else each sub-folder is a class. A class may hold nested folders.

    Raises:
        PipelineError: no images, fewer than two classes, classes that differ only in case, or splits that contradict each other.
    """
    split_folders = _split_folders(folder)
    homes = split_folders or {folder.name: None}
    depth = 2 if split_folders else 1
    classes = {
        split: {child.name for child in _folders(folder / home if split else folder)} for home, split in homes.items()
    }
    images, left_out = [], {}
    for path, problem in walk(folder):
        parts = path.split("/")
        ending = os.path.splitext(path)[1].lower()
        if not problem and ending not in ENDINGS:
            problem = f"ending {ending or '(none)'}"
        if not problem and (len(parts) <= depth or (split_folders and parts[0] not in homes)):
            problem = "outside the class folders"
        if problem:
            left_out[problem] = left_out.get(problem, 0) + 1
        else:
            images.append(LabelledImage(path, parts[depth - 1], split_folders.get(parts[0])))
    training = sorted(classes.get("train") or classes.get(None) or ())
    if not images:
        raise PipelineError(
            f"{folder} holds no images in class sub-folders; allowed endings are {' '.join(sorted(ENDINGS))}"
        )
    refuse_classes(str(folder), training, "sub-folder")
    for split, names in classes.items():
        extra = sorted(names - set(training))
        if extra:
            raise PipelineError(
                f"{folder}: {split}/ has classes that train/ has not: {', '.join(map(repr, extra))}; rename or remove them"
            )
    return Listing(images, training, left_out)


def walk(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Every visible file below `folder`, sorted: its path relative to it, with forward slashes, and a problem, or None.

    Links are followed, but into no folder that holds them. A folder that can't be looked into is a problem of its own.
    """
    return _walk(os.fspath(folder), "", frozenset())


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str | None]]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as found:
            children = sorted((child for child in found if not _hidden(child.name)), key=lambda child: child.name)
    except OSError as error:
        yield prefix.rstrip("/"), f"folder that can't be read ({error.strerror})"
        return
    for child in children:
        if _is_folder(child):
            yield from _walk(child.path, f"{prefix}{child.name}/", above | {here})
        else:
            yield prefix + child.name, None


def _is_folder(child: os.DirEntry) -> bool:
    try:
        return child.is_dir()
    except OSError:  # A link to itself is some file that can't be read.
        return False


def _split_folders(folder: Path) -> dict[str, str]:
    """The sub-folders that are splits, by name, where `train` is one of them and holds folders; else none."""
    found = {child.name: SPLITS[child.name.lower()] for child in _folders(folder) if child.name.lower() in SPLITS}
    homes = [name for name, split in found.items() if split == "train"]
    if not homes or not any(_folders(folder / home) for home in homes):
        return {}
    twice = sorted(name for name, split in found.items() if list(found.values()).count(split) > 1)
    if twice:
        raise PipelineError(f"{folder}: {' and '.join(twice)} name the same split; keep one of them")
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _hidden(child.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
