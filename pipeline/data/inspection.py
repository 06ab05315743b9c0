"""Look into each image's file once: whether it can be read, and what it shows. What is known from an earlier look is not read again."""

import hashlib
import logging
import os
import stat
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.data.inspection_cache import COLUMNS, InspectionCache
from pipeline.data.listing import LabelledImage
from pipeline.data.perceptual_hash import HASH_BYTES, hashes, look
from pipeline.inputs.decoding import TooLargeError, UndecodableError, decode
from pipeline.storage.files import file_sha256, file_state
from pipeline.system.machine import on_all_cores
from pipeline.system.paths import CODE
from pipeline.system.terminal import progress

log = logging.getLogger(__name__)

STATISTICS = ("brightness", "contrast", "saturation")
"""Of an image, in levels of 255: mean and standard deviation of its grey, and the mean difference of its strongest and weakest colour."""
# Files that a thread takes at a time: handing over single ones costs as much as reading small ones.
_AT_ONCE = 32
_COLOUR_SIDE = 16


def reader(max_pixels: int) -> str:
    """All that a reading depends on beside the file."""
    modules = [
        CODE / "pipeline" / f"{name}.py"
        for name in ("inputs/decoding", "data/inspection", "data/perceptual_hash", "data/inspection_cache")
    ]
    return " ".join([*map(file_sha256, modules), version("Pillow"), version("scipy"), str(max_pixels)])


@dataclass(frozen=True)
class Inspected:
    """What the files of a listing hold, in its order."""

    table: pd.DataFrame
    """path, label, split and group as listed; sha256 (empty where the file can't be read); reason, why it is no image, null where it is one;
    width and height (upright, in pixels), format, orientation (EXIF, 1 to 8), size (bytes), STATISTICS, and detail."""
    hashes: np.ndarray
    """Perceptual hashes (`pipeline.data.perceptual_hash`), uint8 [n, 32]; zeros for what is no image."""
    mirrored: np.ndarray
    """Those of the mirrored images."""


def inspect(folder: Path, images: list[LabelledImage], cache_folder: Path, max_pixels: int) -> Inspected:
    """Read and decode the images' files once, on all cores; what is known of a file that is as it was is not read again."""
    nameable = [image for image in images if _is_utf8(image.path)]
    with InspectionCache.open(cache_folder, folder, reader(max_pixels)) as readings:
        states = {image.path: file_state(os.path.join(folder, image.path)) for image in nameable}
        known = readings.known()
        new = [path for path, state in states.items() if known.get(path) != state]
        del known
        if len(new) < len(states):
            log.info("%d of %d files are as they were, and not read again", len(states) - len(new), len(states))
        parts = [new[start : start + _AT_ONCE] for start in range(0, len(new), _AT_ONCE)]
        with progress("reading images", len(new)) as advance:
            for rows in on_all_cores(lambda paths: _rows(folder, paths, states, max_pixels), parts):
                readings.add(rows)
                advance(len(rows))
        read, hashes, mirrored = readings.table([image.path for image in nameable])
    listed = pd.DataFrame(nameable, columns=LabelledImage._fields, dtype="str")
    table = pd.concat([listed, read.drop(columns=["path", "changed"])], axis=1)
    if len(nameable) < len(images):
        unnameable = [_unnameable(image) for image in images if not _is_utf8(image.path)]
        table = pd.concat([table, pd.DataFrame(unnameable).astype("str")], ignore_index=True)
        none = np.zeros((len(unnameable), HASH_BYTES), np.uint8)
        hashes, mirrored = np.concatenate([hashes, none]), np.concatenate([mirrored, none])
    return Inspected(table, hashes, mirrored)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unnameable(image: LabelledImage) -> dict[str, str]:
    shown = image.path.encode(errors="backslashreplace").decode()
    return {"path": shown, "label": image.label, "sha256": "", "reason": "name is not UTF-8"}


def _read(file: str, max_pixels: int) -> dict[str, Any]:
    """What a file holds: its sha256 and the reason why it is no image, or what it shows."""
    sha256 = ""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise UndecodableError("not a regular file")
        with open(file, "rb") as opened:
            data = opened.read()
        sha256 = hashlib.sha256(data).hexdigest()
        decoded = decode(data, max_pixels)
    except TooLargeError as error:
        return {"sha256": sha256, "reason": f"{error} (dataset.max_pixels)"}
    except (OSError, UndecodableError) as error:
        return {"sha256": sha256, "reason": error.strerror if isinstance(error, OSError) else str(error)}
    grey, colours = look(decoded.image, _COLOUR_SIDE)
    return {
        "sha256": sha256,
        "width": decoded.image.width,
        "height": decoded.image.height,
        "format": decoded.format,
        "orientation": decoded.orientation,
        "grey": grey,
        "colours": colours,
    }


def _rows(folder: Path, paths: list[str], states: dict[str, tuple[int, int]], max_pixels: int) -> list[tuple]:
    """Rows of COLUMNS for some files; statistics and hashes of all images at once."""
    chunk = [(path, _read(os.path.join(folder, path), max_pixels)) for path in paths]
    shown = [found for _, found in chunk if "grey" in found]
    if shown:
        greys = np.stack([found.pop("grey") for found in shown])
        red, green, blue = np.moveaxis(np.stack([found.pop("colours") for found in shown]), 3, 0)
        bits, mirrored, detail = hashes(greys)
        # Two at a time, which is much faster than along a short axis.
        strongest, weakest = (pick(pick(red, green), blue) for pick in (np.maximum, np.minimum))
        saturation = (strongest - weakest).mean(axis=(1, 2))
        contrast = greys.std(axis=(1, 2), dtype=np.float32)
        numbers = np.stack([greys.mean(axis=(1, 2)), contrast, saturation, detail], axis=1).tolist()
        for found, own, other, values in zip(shown, bits, mirrored, numbers, strict=True):
            found |= zip((*STATISTICS, "detail"), values, strict=True)
            found |= {"hash": own.tobytes(), "mirrored": other.tobytes()}
    rows = []
    for path, found in chunk:
        # What could not be read at all is tried again each time: permissions leave no trace in these.
        size, changed = states[path] if found["sha256"] else (None, None)
        rows.append({"path": path, "size": size, "changed": changed} | found)
    return [tuple(map(row.get, COLUMNS)) for row in rows]
