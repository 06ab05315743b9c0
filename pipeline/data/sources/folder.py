"""Images in folders: labels, and splits if there are any, from folder names."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.listing import SPLIT_ALIASES, LabelledImage, Listing, check_classes
from pipeline.system.errors import PipelineError

ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}


def list_folder(folder: Path) -> Listing:
    """List all images below `folder`, sorted by path.

    A folder `train/` with class sub-folders makes it a data set with splits (also `test/`, `validation/`, `val/`). Else
    each sub-folder is a class. A class may have nested folders.

    Raises:
        PipelineError: no images, fewer than two classes, classes that differ only in case, or contradictory splits.
    """
    split_folders = _split_folders(folder)
    depth = 2 if split_folders else 1
    classes = {split: _folder_names(folder / home) for home, split in split_folders.items()}
    training = sorted(classes["train"] if split_folders else _folder_names(folder))
    images: list[LabelledImage] = []
    left_out: dict[str, int] = {}
    for path, problem in walk(folder):
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
    check_classes(str(folder), training, "sub-folder")
    for split, names in classes.items():
        extra = sorted(names - set(training))
        if extra:
            raise PipelineError(
                f"{folder}: {split}/ has classes that train/ lacks: {', '.join(map(repr, extra))}; rename or remove them"
            )
    return Listing(images, training, left_out)


def walk(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Yield every visible file below `folder`, sorted: its relative path with forward slashes, and a problem or None.

    Links are followed, except into a folder that contains them. A folder that can't be read is yielded as a problem.
    """
    return _walk(os.fspath(folder), "", frozenset())


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str | None]]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as entries:
            children = sorted((child for child in entries if not _hidden(child.name)), key=lambda child: child.name)
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
    except OSError:  # A link to itself counts as an unreadable file.
        return False


def _split_folders(folder: Path) -> dict[str, str]:
    """Return the split that each sub-folder is, by name; none unless one is `train` and has folders."""
    names = _folder_names(folder)
    splits = {name: SPLIT_ALIASES[name.lower()] for name in sorted(names) if name.lower() in SPLIT_ALIASES}
    if not any(_folder_names(folder / name) for name, split in splits.items() if split == "train"):
        return {}
    twice = sorted(name for name, split in splits.items() if list(splits.values()).count(split) > 1)
    if twice:
        raise PipelineError(f"{folder}: {' and '.join(twice)} mean the same split; keep one of them")
    return splits


def _folder_names(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir() if child.is_dir() and not _hidden(child.name)}


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
