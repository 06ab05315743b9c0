"""Inspect each image file once: whether it can be decoded, its statistics, and its perceptual hash."""

import hashlib
import logging
import os
import stat
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.duplicates import HASH_BYTES, downscale, perceptual_hashes
from pipeline.data.inspection_cache import COLUMNS, InspectionCache
from pipeline.data.listing import LabelledImage
from pipeline.inputs.decoding import TooLargeError, UndecodableError, decode
from pipeline.storage.files import Json, file_sha256, file_state
from pipeline.system.machine import on_all_cores
from pipeline.system.paths import CODE
from pipeline.system.terminal import progress

log = logging.getLogger(__name__)

STATISTICS = ("brightness", "contrast", "saturation")
"""Statistics of an image, in levels of 255: mean and standard deviation of its grey, and the mean difference of its
strongest and weakest colour channel."""
# Files per task of a thread; handing over single ones costs as much as reading small ones.
_CHUNK = 32
_COLOUR_SIDE = 16


def fingerprint(max_pixels: int) -> str:
    """Return everything that the inspection of a file depends on, besides the file."""
    modules = [
        CODE / "pipeline" / f"{name}.py"
        for name in ("inputs/decoding", "data/inspection", "data/duplicates", "data/inspection_cache")
    ]
    return " ".join([*map(file_sha256, modules), version("Pillow"), version("scipy"), str(max_pixels)])


@dataclass(frozen=True)
class Inspection:
    """Content of the files of a listing, in its order."""

    table: pd.DataFrame
    """path, label, split and group as listed; sha256 (empty for an unreadable file); reason why it is not an image, or
    null. Of images: width and height (upright, in pixels), format, orientation (EXIF, 1 to 8), size (bytes), STATISTICS
    and detail."""
    hashes: np.ndarray
    """Perceptual hashes (`pipeline.data.duplicates`), uint8 [n, 32]; zeros for files that are not images."""
    mirrored: np.ndarray
    """Hashes of the mirrored images, uint8 [n, 32]."""


def inspect(folder: Path, images: list[LabelledImage], cache_folder: Path, max_pixels: int) -> Inspection:
    """Read and decode the images' files on all cores; files that have not changed since the last time are skipped.

    Args:
        folder: folder that the images' paths start from.
        images: the listed images.
        cache_folder: the cache, which holds the results of earlier inspections.
        max_pixels: largest width times height that is decoded.
    """
    nameable = [image for image in images if _is_utf8(image.path)]
    with InspectionCache.open(cache_folder, folder, fingerprint(max_pixels)) as cache:
        states = {image.path: file_state(os.path.join(folder, image.path)) for image in nameable}
        known = cache.known()
        new = [path for path, state in states.items() if known.get(path) != state]
        del known
        if len(new) < len(states):
            log.info("%d of %d files are unchanged and not read again", len(states) - len(new), len(states))
        chunks = [new[start : start + _CHUNK] for start in range(0, len(new), _CHUNK)]
        with progress("reading images", len(new)) as advance:
            for rows in on_all_cores(lambda paths: _rows(folder, paths, states, max_pixels), chunks):
                cache.add(rows)
                advance(len(rows))
        read, hashes, mirrored = cache.table([image.path for image in nameable])
    listed = pd.DataFrame(nameable, columns=LabelledImage._fields, dtype="str")
    table = pd.concat([listed, read.drop(columns=["path", "changed"])], axis=1)
    if len(nameable) < len(images):
        unnameable = [_unnameable(image) for image in images if not _is_utf8(image.path)]
        table = pd.concat([table, pd.DataFrame(unnameable).astype("str")], ignore_index=True)
        none = np.zeros((len(unnameable), HASH_BYTES), np.uint8)
        hashes, mirrored = np.concatenate([hashes, none]), np.concatenate([mirrored, none])
    return Inspection(table, hashes, mirrored)


def _is_utf8(path: str) -> bool:
    return path.encode(errors="ignore").decode() == path


def _unnameable(image: LabelledImage) -> dict[str, str]:
    shown = image.path.encode(errors="backslashreplace").decode()
    return {"path": shown, "label": image.label, "sha256": "", "reason": "name is not UTF-8"}


def _read(file: str, max_pixels: int) -> Json:
    """Return a file's sha256, and the reason why it is not an image, or its properties and downscaled pixels."""
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
    grey, colours = downscale(decoded.image, _COLOUR_SIDE)
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
    """Return rows of COLUMNS for some files; statistics and hashes are computed for all of them at once."""
    contents = [_read(os.path.join(folder, path), max_pixels) for path in paths]
    decoded = [content for content in contents if "grey" in content]
    if decoded:
        greys = np.stack([content.pop("grey") for content in decoded])
        red, green, blue = np.moveaxis(np.stack([content.pop("colours") for content in decoded]), 3, 0)
        bits, mirrored, detail = perceptual_hashes(greys)
        # Channel by channel, which is much faster than along a short axis.
        strongest, weakest = (pick(pick(red, green), blue) for pick in (np.maximum, np.minimum))
        saturation = (strongest - weakest).mean(axis=(1, 2))
        contrast = greys.std(axis=(1, 2), dtype=np.float32)
        numbers = np.stack([greys.mean(axis=(1, 2)), contrast, saturation, detail], axis=1).tolist()
        for content, own, other, values in zip(decoded, bits, mirrored, numbers, strict=True):
            content |= zip((*STATISTICS, "detail"), values, strict=True)
            content |= {"hash": own.tobytes(), "mirrored": other.tobytes()}
    rows: list[Json] = []
    for path, content in zip(paths, contents, strict=True):
        # Unreadable files are read again each time: permissions change neither size nor time of change.
        size, changed = states[path] if content["sha256"] else (None, None)
        rows.append({"path": path, "size": size, "changed": changed} | content)
    return [tuple(map(row.get, COLUMNS)) for row in rows]
