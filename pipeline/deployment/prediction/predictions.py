"""Predictions for files: from paths to classes and probabilities."""

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.data.sources.folder import ENDINGS
from pipeline.deployment.classifier import Classifier
from pipeline.inputs.decoding import SAFE_PIXELS, UndecodableError, pixels
from pipeline.system.machine import on_all_cores

STANDARD_INPUT = "-"


def expand_paths(given: Iterable[str]) -> Iterator[str]:
    """The files that words of the command line mean, in that order; those of a folder, at any depth, by name.

    A word that means no file comes back as it is, so that its row can say so. `-` is a list of paths on standard input, one a line.
    """
    for word in given:
        if word == STANDARD_INPUT:
            for line in sys.stdin:
                if path := line.rstrip("\r\n"):
                    yield from _in_folder(path)
        elif not os.path.lexists(word) and glob.has_magic(word):
            for match in sorted(glob.glob(word, recursive=True)) or [word]:  # noqa: PTH207 (a Path knows no absolute patterns)
                yield from _in_folder(match)
        else:
            yield from _in_folder(word)


def _in_folder(path: str) -> Iterator[str]:
    """The images in a folder; else, and where it has none, the path itself."""
    empty = True
    for folder, inner, files in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith("."):  # noqa: PTH122 (a Path each takes ten times as long)
                empty = False
                yield os.path.join(folder, name)  # noqa: PTH118
    if empty:
        yield path


@dataclass(frozen=True)
class Prediction:
    """What came of one path: an image with its probabilities, or an error."""

    path: str
    error: str = ""
    image: np.ndarray | None = None
    """uint8 RGB [size, size, 3]."""
    probabilities: np.ndarray | None = None
    """float32 [classes]."""
    calibrated: np.ndarray | None = None
    """The same at the temperature, where that is known."""


def answers(paths: Iterable[str], classifier: Classifier, batch_size: int) -> Iterator[list[Prediction]]:
    """Ask about images, `batch_size` at a time; the answers in the order of the paths. What can't be read gets an error, and stops nothing."""
    # One at a time, nobody waits for what comes after it.
    ahead = 4 * batch_size if batch_size > 1 else 1
    read = on_all_cores(partial(_read, size=classifier.image_size), paths, ahead)
    while batch := list(islice(read, batch_size)):
        yield _asked(batch, classifier)


def _read(path: str, size: int) -> Prediction:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (as fast as it gets)
        if stat.S_ISDIR(mode):
            return Prediction(path, f"a folder without images ({' '.join(sorted(ENDINGS))})")
        if not stat.S_ISREG(mode):
            return Prediction(path, "not a regular file")
        return Prediction(path, image=pixels(Path(path).read_bytes(), size, SAFE_PIXELS))
    except UndecodableError as error:
        return Prediction(path, str(error))
    except (OSError, ValueError) as error:
        return Prediction(path, getattr(error, "strerror", None) or str(error))


def _asked(batch: list[Prediction], classifier: Classifier) -> list[Prediction]:
    images = [each.image for each in batch if each.image is not None]
    if not images:
        return batch
    probabilities = classifier.probabilities(np.stack(images))
    calibrated = classifier.calibrated(probabilities)
    given = iter(zip(probabilities, probabilities if calibrated is None else calibrated, strict=True))
    told = []
    for each in batch:
        if each.image is not None:
            own, at_temperature = next(given)
            each = Prediction(each.path, "", each.image, own, None if calibrated is None else at_temperature)
        told.append(each)
    return told
