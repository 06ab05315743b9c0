"""Prediction of image files given by paths, folders or glob patterns."""

import glob
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice, repeat
from pathlib import Path

import numpy as np

from pipeline.config.image import Decoding
from pipeline.data.folders import HIDDEN, walk
from pipeline.data.listing import ENDINGS
from pipeline.deployment.classifier import Classifier
from pipeline.inputs.decoding import SAFE_PIXELS, UndecodableError, pixels
from pipeline.system.machine import on_all_cores

STANDARD_INPUT = "-"
_ANY_FOLDERS = "**"
_NAMED = 5


class PassedOver:
    """Files and folders that were found, but are not predicted."""

    def __init__(self) -> None:
        self._paths: dict[str, list[str]] = {}

    def add(self, path: str, reason: str) -> None:
        """Count a file or folder."""
        self._paths.setdefault(reason, []).append(path)

    def lines(self) -> list[str]:
        """Return a message for each reason, with the count and the first names."""
        return [
            f"{len(paths)} passed over ({reason}): {', '.join(map(_shown, paths[:_NAMED]))}"
            + f" and {len(paths) - _NAMED} more" * (len(paths) > _NAMED)
            for reason, paths in sorted(self._paths.items())
        ]


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def expand_paths(words: Iterable[str], passed_over: PassedOver | None = None) -> Iterator[str]:
    """Expand command-line arguments to paths of files, in the order of the arguments.

    Folders are searched recursively, in order of names, and links are followed. `-` reads one path per line from
    standard input. An argument that matches no file is yielded unchanged, so that it appears in the output with an
    error.

    Args:
        words: Files, folders, glob patterns and `-`.
        passed_over: Object that counts what is not yielded of the folders.
    """
    passed_over = passed_over or PassedOver()
    for word in words:
        if word == STANDARD_INPUT:
            for line in sys.stdin:
                # Editors may begin a text with a byte order mark, which is not a part of the first path.
                path = line.rstrip("\r\n").removeprefix("\ufeff")
                if path.strip():
                    yield from _in_folder(path, passed_over)
        elif os.path.lexists(word) or not glob.has_magic(word):
            yield from _in_folder(word, passed_over)
        elif _ANY_FOLDERS in word.split("/"):
            yield from _matches(word, passed_over) or [word]
        else:
            for path in sorted(glob.glob(word)) or [word]:  # noqa: PTH207 (Path.glob rejects absolute patterns)
                yield from _in_folder(path, passed_over)


def _in_folder(path: str, passed_over: PassedOver) -> Iterator[str]:
    """Yield the images in a folder; yield the path itself if it is not a folder or contains no images."""
    images = [os.path.join(path, name) for name in _images(path, passed_over)] if os.path.isdir(path) else []  # noqa: PTH112, PTH118 (faster than pathlib)
    yield from images or [path]


def _images(folder: str, passed_over: PassedOver) -> Iterator[str]:
    """Yield the relative paths of the images in a folder; the files of each folder come before its sub-folders."""
    for path, problem in sorted(walk(folder), key=lambda found: _order(found[0])):
        ending = os.path.splitext(path)[1].lower()  # noqa: PTH122 (pathlib takes ten times as long)
        if not problem and ending not in ENDINGS:
            problem = f"ending {ending or '(none)'}"
        if problem:
            passed_over.add(os.path.join(folder, path), problem)  # noqa: PTH118
        else:
            yield path


def _order(path: str) -> list[tuple[bool, str]]:
    *folders, name = path.split("/")
    return [*((True, folder) for folder in folders), (False, name)]


def _matches(pattern: str, passed_over: PassedOver) -> list[str]:
    """Return the files that match a pattern with `**`, and the images in folders that match it, sorted.

    `glob` would follow links to a folder that contains them.
    """
    parts = pattern.split("/")
    first = parts.index(_ANY_FOLDERS)
    root, below = "/".join(parts[:first]), [part for part in parts[first:] if part]
    roots = glob.glob(f"{root}/") if first else [""]  # noqa: PTH207
    found = []
    for folder in roots:
        for path, problem in walk(folder or "."):
            names = path.split("/")
            if problem:
                if problem != HIDDEN:
                    passed_over.add(folder + path, problem)
            elif (
                _fits(names, below)
                or (
                    os.path.splitext(path)[1].lower() in ENDINGS  # noqa: PTH122
                    and any(_fits(names[:end], below) for end in range(len(names)))
                )
            ):
                found.append(folder + path)
    return sorted(found)


def _fits(names: list[str], pattern: list[str]) -> bool:
    """Return whether the names of a path match the parts of a pattern, in which `**` stands for any folders."""
    if not pattern or not names:
        return not names and all(part == _ANY_FOLDERS for part in pattern)
    if pattern[0] == _ANY_FOLDERS:
        return _fits(names, pattern[1:]) or _fits(names[1:], pattern)
    return fnmatchcase(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


@dataclass(frozen=True)
class Neighbour:
    """Training image that is similar to an image."""

    path: str
    label: str
    similarity: float
    """Cosine of the angle between the vectors of both images, at most 1."""


Nearest = Callable[[np.ndarray], list[list[Neighbour]]]
"""Function that finds the most similar training images of each image, uint8 [b, h, w, 3], the nearest first."""


@dataclass(frozen=True)
class Prediction:
    """An image with its predicted probabilities."""

    path: str
    image: np.ndarray
    """Decoded RGB image, uint8 [h, w, 3]."""
    probabilities: np.ndarray
    """Class probabilities, float32 [classes]."""
    calibrated: np.ndarray | None = None
    """Temperature-scaled probabilities; None if the temperature is unknown."""
    neighbours: Sequence[Neighbour] = ()
    """Most similar training images, the nearest first."""


@dataclass(frozen=True)
class Unreadable:
    """A path that can't be read as an image, with the reason."""

    path: str
    error: str


Batch = list[Prediction | Unreadable]


def top_classes(prediction: Prediction, classes: list[str], count: int) -> list[tuple[str, float]]:
    """Return the `count` most probable classes with their probabilities, rounded to six decimal places."""
    order = np.argsort(-prediction.probabilities, kind="stable")[:count]
    return [(classes[place], round(float(prediction.probabilities[place]), 6)) for place in order]


def predict(
    paths: Iterable[str], classifier: Classifier, batch_size: int, nearest: Nearest | None = None
) -> Iterator[Batch]:
    """Yield predictions in batches, in the order of the paths; unreadable images are yielded as `Unreadable`.

    Args:
        paths: Paths of files.
        classifier: Classifier that predicts the images.
        batch_size: Number of images per batch.
        nearest: Search for similar training images; None for no search.
    """
    for batch in read_batches(paths, classifier.decoding, batch_size):
        yield _predict_batch(batch, classifier, nearest)


def read_batches(
    paths: Iterable[str], decoding: Decoding, batch_size: int
) -> Iterator[list[tuple[str, np.ndarray | Unreadable]]]:
    """Yield batches of paths with their images, uint8 [h, w, 3], or the reason why there is none.

    Args:
        paths: Paths of files.
        decoding: Size of the images, and how they get it.
        batch_size: Number of paths per batch.
    """
    # With a batch size of 1, results are wanted immediately, so little is read ahead.
    ahead = 4 * batch_size if batch_size > 1 else 1
    read = partial(_read, decoding=decoding)
    images: Iterator[tuple[str, np.ndarray | Unreadable]] = on_all_cores(read, paths, ahead)
    while batch := list(islice(images, batch_size)):
        yield batch


def _read(path: str, decoding: Decoding) -> tuple[str, np.ndarray | Unreadable]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (faster than pathlib)
        if stat.S_ISDIR(mode):
            return path, Unreadable(path, f"the folder contains no images ({' '.join(sorted(ENDINGS))})")
        if not stat.S_ISREG(mode):
            return path, Unreadable(path, "not a regular file")
        return path, pixels(Path(path).read_bytes(), decoding, SAFE_PIXELS)
    except UndecodableError as error:
        return path, Unreadable(path, str(error))
    except (OSError, ValueError) as error:
        return path, Unreadable(path, getattr(error, "strerror", None) or str(error))


def _predict_batch(
    batch: list[tuple[str, np.ndarray | Unreadable]], classifier: Classifier, nearest: Nearest | None
) -> Batch:
    images = [image for _, image in batch if isinstance(image, np.ndarray)]
    if not images:
        return [image for _, image in batch if isinstance(image, Unreadable)]
    pixels_of_all = np.stack(images)
    probabilities = classifier.probabilities(pixels_of_all)
    calibrated = classifier.calibrated(probabilities)
    neighbours: Iterable[Sequence[Neighbour]] = nearest(pixels_of_all) if nearest else repeat(())
    rows = zip(probabilities, repeat(None) if calibrated is None else calibrated, neighbours, strict=False)
    return [image if isinstance(image, Unreadable) else Prediction(path, image, *next(rows)) for path, image in batch]
