"""Inspection of image files: whether each can be decoded, its statistics, and its perceptual hash.

Results are cached by the content of the files, so that copies elsewhere, or under other names, are not decoded again.
"""

import hashlib
import logging
import os
import sqlite3
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.duplicates import HASH_BYTES, downscale, perceptual_hashes
from pipeline.data.listing import LabelledImage
from pipeline.inputs.decoding import TooLargeError, UndecodableError, decode, decoder_version
from pipeline.storage.database import open_table
from pipeline.storage.digests import file_digests
from pipeline.storage.files import Json, file_sha256
from pipeline.system.errors import PipelineError
from pipeline.system.machine import on_all_cores
from pipeline.system.paths import CODE
from pipeline.system.terminal import progress

log = logging.getLogger(__name__)

STATISTICS = ("brightness", "contrast", "saturation")
"""Statistics of an image on a scale from 0 to 255.

They are the mean and the standard deviation of the grey levels, and the mean difference between the strongest and the
weakest colour channel.
"""
# Files per task of a thread; scheduling each small file on its own would take as long as reading it.
_CHUNK = 32
_COLOUR_SIDE = 16
# Columns of the cache. The key is the sha256 of a file, or its path if it can't be read: then it is read each time.
# `reason` says why the file is not an image.
_COLUMNS = {
    "key": "TEXT PRIMARY KEY",
    "sha256": "TEXT",
    "reason": "TEXT",
    "width": "INTEGER",
    "height": "INTEGER",
    "format": "TEXT",
    "orientation": "INTEGER",
    "depth": "INTEGER",
    "brightness": "REAL",
    "contrast": "REAL",
    "saturation": "REAL",
    "detail": "REAL",
    "hash": "BLOB",
    "mirrored": "BLOB",
}
_DTYPES = {"INTEGER": "Int64", "REAL": "float64"}
_ROWS_AT_ONCE = 10_000


def fingerprint(max_pixels: int) -> str:
    """Return a sha256 of the code, package versions and limit on which inspection results depend."""
    modules = [CODE / "pipeline" / "data" / f"{name}.py" for name in ("inspection", "duplicates")]
    parts = " ".join([*map(file_sha256, modules), decoder_version(), version("scipy"), str(max_pixels)])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Inspection:
    """Results of inspecting the files of a listing, in the order of the listing."""

    table: pd.DataFrame
    """Table with one row per file.

    Its columns are path, label, split and group as listed, sha256 (empty for an unreadable file), and reason.
    `reason` says why the file is not an image, and is null for an image. Images also have width and height (upright, in
    pixels), format, orientation (EXIF, 1 to 8), `STATISTICS` and detail. 16-bit files also have depth, the bits that
    their samples use; their statistics are those of an image that is scaled from this depth.
    """
    hashes: np.ndarray
    """Perceptual hashes (`pipeline.data.duplicates`), uint8 [n, 32]; zeros for files that are not images."""
    mirrored: np.ndarray
    """Hashes of the mirrored images, uint8 [n, 32]."""


def inspect(folder: Path, images: list[LabelledImage], cache_folder: Path, max_pixels: int) -> Inspection:
    """Read and decode image files on all cores; content that was inspected before is not decoded again.

    Args:
        folder: Base folder of the images' paths.
        images: The listed images.
        cache_folder: Folder of the cache, which holds the results of earlier inspections.
        max_pixels: Largest width times height of an image that is decoded.

    Raises:
        PipelineError: A file was changed meanwhile.
    """
    nameable = [image for image in images if _is_utf8(image.path)]
    paths = [image.path for image in nameable]
    digests = file_digests(folder, paths, cache_folder)
    keys = [sha256 or f"unreadable: {path}" for path, sha256 in zip(paths, digests, strict=True)]
    with open_table(cache_folder / "readings" / f"{fingerprint(max_pixels)}.sqlite", "readings", _COLUMNS) as cache:
        cache.execute("CREATE TEMP TABLE wanted (key TEXT PRIMARY KEY)")
        cache.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", [(key,) for key in keys])
        known = {sha256 for (sha256,) in cache.execute("SELECT sha256 FROM readings JOIN wanted USING (key)")}
        # One file for each new content.
        new = {
            key: (path, sha256) for key, path, sha256 in zip(keys, paths, digests, strict=True) if sha256 not in known
        }
        if known - {""}:
            log.info(
                "%d of %d files were inspected before", sum(sha256 in known for sha256 in digests if sha256), len(paths)
            )
        places, left = ", ".join("?" * len(_COLUMNS)), list(new.items())
        chunks = [left[start : start + _CHUNK] for start in range(0, len(left), _CHUNK)]
        with progress("reading images", len(left)) as advance:
            for rows in on_all_cores(lambda files: _rows(folder, files, max_pixels), chunks):
                with cache:
                    cache.executemany(f"INSERT OR REPLACE INTO readings VALUES ({places})", rows)
                advance(len(rows))
        contents, hashes, mirrored = _cached_table(cache, keys)
    listed = pd.DataFrame(nameable, columns=LabelledImage._fields, dtype="str")
    table = pd.concat([listed, contents.drop(columns="key")], axis=1)
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
    """Return a file's sha256 with its properties and downscaled pixels, or with the reason why it is not an image."""
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
        "depth": decoded.depth,
        "grey": grey,
        "colours": colours,
    }


def _rows(folder: Path, files: list[tuple[str, tuple[str, str]]], max_pixels: int) -> list[tuple]:
    """Return the rows of the cache for some files; statistics and hashes are computed for all of them at once.

    Args:
        folder: Base folder of the paths.
        files: (key, (path, sha256 or empty)) of each file.
        max_pixels: Largest width times height of an image that is decoded.
    """
    contents = [_read(os.path.join(folder, path), max_pixels) for _, (path, _) in files]
    for content, (_, (path, sha256)) in zip(contents, files, strict=True):
        if content["sha256"] != sha256:
            raise PipelineError(f"{folder / path} was changed while it was read; run the same command again")
    decoded = [content for content in contents if "grey" in content]
    if decoded:
        greys = np.stack([content.pop("grey") for content in decoded])
        red, green, blue = np.moveaxis(np.stack([content.pop("colours") for content in decoded]), 3, 0)
        bits, mirrored, detail = perceptual_hashes(greys)
        # Comparing channel by channel is much faster than reducing along a short axis.
        strongest, weakest = (pick(pick(red, green), blue) for pick in (np.maximum, np.minimum))
        saturation = (strongest - weakest).mean(axis=(1, 2))
        contrast = greys.std(axis=(1, 2), dtype=np.float32)
        numbers = np.stack([greys.mean(axis=(1, 2)), contrast, saturation, detail], axis=1).tolist()
        for content, own, other, values in zip(decoded, bits, mirrored, numbers, strict=True):
            content |= zip((*STATISTICS, "detail"), values, strict=True)
            content |= {"hash": own.tobytes(), "mirrored": other.tobytes()}
    return [
        tuple(({"key": key} | content).get(name) for name in _COLUMNS)
        for (key, _), content in zip(files, contents, strict=True)
    ]


def _cached_table(database: sqlite3.Connection, keys: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Read the results of the files in the table `wanted` from the cache, in the order of `keys`.

    Returns:
        (table, hashes, mirrored): Table without the hashes, and both kinds of hashes, uint8 [n, HASH_BYTES]; hashes are
        zeros for files that are not images.
    """
    plain = [name for name in _COLUMNS if name not in ("hash", "mirrored")]
    dtypes = {name: _DTYPES.get(_COLUMNS[name], "str") for name in plain}
    cursor = database.execute(f"SELECT {', '.join(plain)}, hash, mirrored FROM readings JOIN wanted USING (key)")
    parts, bits = [], []
    none = bytes(HASH_BYTES)
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        *columns, hashes, mirrored = zip(*rows, strict=True)
        parts.append(pd.DataFrame(dict(zip(plain, columns, strict=True))).astype(dtypes))
        joined = b"".join(
            part for pair in zip(hashes, mirrored, strict=True) for part in (pair[0] or none, pair[1] or none)
        )
        bits.append(np.frombuffer(joined, np.uint8).reshape(-1, 2, HASH_BYTES))
    table = pd.concat(parts, ignore_index=True)
    order = pd.Index(table["key"]).get_indexer(pd.Index(keys))
    ordered = np.concatenate(bits)[order]
    return table.iloc[order].reset_index(drop=True), ordered[:, 0], ordered[:, 1]
