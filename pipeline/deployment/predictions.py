"""Prediction of image files given by paths, folders or glob patterns."""

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from pathlib import Path

import numpy as np

from pipeline.data.listing import ENDINGS
from pipeline.deployment.classifier import Classifier
from pipeline.inputs.decoding import SAFE_PIXELS, UndecodableError, pixels
from pipeline.system.machine import on_all_cores

STANDARD_INPUT = "-"


def expand_paths(words: Iterable[str]) -> Iterator[str]:
    """Expand command-line arguments to paths of files, in the order of the arguments.

    Folders are searched recursively, in order of names. `-` reads one path per line from standard input. An argument
    that matches no file is yielded unchanged, so that it appears in the output with an error.
    """
    for word in words:
        paths: Iterable[str] = [word]
        if word == STANDARD_INPUT:
            paths = filter(None, (line.rstrip("\r\n") for line in sys.stdin))
        elif not os.path.lexists(word) and glob.has_magic(word):
            paths = sorted(glob.glob(word, recursive=True)) or [word]  # noqa: PTH207 (Path.glob rejects absolute patterns)
        for path in paths:
            yield from _in_folder(path)


def _in_folder(path: str) -> Iterator[str]:
    """Yield the images in a folder; yield the path itself if it is not a folder or contains no images."""
    empty = True
    for folder, inner, files in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith("."):  # noqa: PTH122 (pathlib takes ten times as long)
                empty = False
                yield os.path.join(folder, name)  # noqa: PTH118
    if empty:
        yield path


@dataclass(frozen=True)
class Prediction:
    """An image with its predicted probabilities."""

    path: str
    image: np.ndarray
    """Decoded RGB image, uint8 [size, size, 3]."""
    probabilities: np.ndarray
    """Class probabilities, float32 [classes]."""
    calibrated: np.ndarray | None = None
    """Temperature-scaled probabilities; None if the temperature is unknown."""


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


def predict(paths: Iterable[str], classifier: Classifier, batch_size: int) -> Iterator[Batch]:
    """Yield predictions in batches, in the order of the paths; unreadable images are yielded as `Unreadable`."""
    # With a batch size of 1, results are wanted immediately, so little is read ahead.
    ahead = 4 * batch_size if batch_size > 1 else 1
    read = partial(_read, size=classifier.image_size)
    images: Iterator[tuple[str, np.ndarray | Unreadable]] = on_all_cores(read, paths, ahead)
    while batch := list(islice(images, batch_size)):
        yield _predict_batch(batch, classifier)


def _read(path: str, size: int) -> tuple[str, np.ndarray | Unreadable]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (faster than pathlib)
        if stat.S_ISDIR(mode):
            return path, Unreadable(path, f"the folder contains no images ({' '.join(sorted(ENDINGS))})")
        if not stat.S_ISREG(mode):
            return path, Unreadable(path, "not a regular file")
        return path, pixels(Path(path).read_bytes(), size, SAFE_PIXELS)
    except UndecodableError as error:
        return path, Unreadable(path, str(error))
    except (OSError, ValueError) as error:
        return path, Unreadable(path, getattr(error, "strerror", None) or str(error))


def _predict_batch(batch: list[tuple[str, np.ndarray | Unreadable]], classifier: Classifier) -> Batch:
    images = [image for _, image in batch if isinstance(image, np.ndarray)]
    probabilities = classifier.probabilities(np.stack(images)) if images else np.empty((0, 0), np.float32)
    calibrated = classifier.calibrated(probabilities) if images else None
    rows = zip(probabilities, repeat(None) if calibrated is None else calibrated, strict=False)
    return [image if isinstance(image, Unreadable) else Prediction(path, image, *next(rows)) for path, image in batch]
