"""From paths to answers: read and decoded on all cores, asked in batches, given back in order as they come."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.data.decoding import SAFE_PIXELS, UndecodableError, pixels
from pipeline.data.listing import ENDINGS
from pipeline.data.pictures import on_all_cores
from pipeline.deployment.classifier import Classifier


@dataclass(frozen=True)
class Answer:
    """What came of one path: a picture with its probabilities, or an error."""

    path: str
    error: str = ""
    picture: np.ndarray | None = None
    """uint8 RGB [size, size, 3]."""
    probabilities: np.ndarray | None = None
    """float32 [classes]."""
    calibrated: np.ndarray | None = None
    """The same at the temperature, where that is known."""


def answers(paths: Iterable[str], classifier: Classifier, batch_size: int) -> Iterator[list[Answer]]:
    """Ask about pictures, `batch_size` at a time; the answers in the order of the paths. What can't be read gets an error, and stops nothing."""
    # One at a time, nobody waits for what comes after it.
    ahead = 4 * batch_size if batch_size > 1 else 1
    read = on_all_cores(partial(_read, size=classifier.image_size), paths, ahead)
    while batch := list(islice(read, batch_size)):
        yield _asked(batch, classifier)


def _read(path: str, size: int) -> Answer:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (as fast as it gets)
        if stat.S_ISDIR(mode):
            return Answer(path, f"a folder without pictures ({' '.join(sorted(ENDINGS))})")
        if not stat.S_ISREG(mode):
            return Answer(path, "not a regular file")
        return Answer(path, picture=pixels(Path(path).read_bytes(), size, SAFE_PIXELS))
    except UndecodableError as error:
        return Answer(path, str(error))
    except (OSError, ValueError) as error:
        return Answer(path, getattr(error, "strerror", None) or str(error))


def _asked(batch: list[Answer], classifier: Classifier) -> list[Answer]:
    pictures = [each.picture for each in batch if each.picture is not None]
    if not pictures:
        return batch
    probabilities = classifier.probabilities(np.stack(pictures))
    calibrated = classifier.calibrated(probabilities)
    given = iter(zip(probabilities, probabilities if calibrated is None else calibrated, strict=True))
    told = []
    for each in batch:
        if each.picture is not None:
            own, at_temperature = next(given)
            each = Answer(each.path, "", each.picture, own, None if calibrated is None else at_temperature)
        told.append(each)
    return told
