"""Inspection of image files: whether each can be decoded, its statistics, and its perceptual hash.

Results are cached; a file is read again if its size or modification time has changed.
"""

import errno
import hashlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.duplicates import HASH_BYTES, downscale, perceptual_hashes
from pipeline.data.listing import LabelledImage
from pipeline.inputs.decoding import TooLargeError, UndecodableError, decode
from pipeline.storage.files import Json, file_sha256, file_state, is_writable
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
# Columns of the cache. `size` (bytes) and `changed` (modification time in ns) are those of the file when it was read.
# `reason` says why the file is not an image.
_COLUMNS = {
    "path": "TEXT PRIMARY KEY",
    "size": "INTEGER",
    "changed": "INTEGER",
    "sha256": "TEXT",
    "reason": "TEXT",
    "width": "INTEGER",
    "height": "INTEGER",
    "format": "TEXT",
    "orientation": "INTEGER",
    "brightness": "REAL",
    "contrast": "REAL",
    "saturation": "REAL",
    "detail": "REAL",
    "hash": "BLOB",
    "mirrored": "BLOB",
}
_DTYPES = {"INTEGER": "Int64", "REAL": "float64"}
_ROWS_AT_ONCE = 10_000
# Seconds to wait for another process that writes to the cache, which may be on a slow network share.
_LOCK_TIMEOUT = 3600


def fingerprint(max_pixels: int) -> str:
    """Return a text that identifies the code, package versions and limit on which inspection results depend."""
    modules = [CODE / "pipeline" / f"{name}.py" for name in ("inputs/decoding", "data/inspection", "data/duplicates")]
    return " ".join([*map(file_sha256, modules), version("Pillow"), version("scipy"), str(max_pixels)])


@dataclass(frozen=True)
class Inspection:
    """Results of inspecting the files of a listing, in the order of the listing."""

    table: pd.DataFrame
    """Table with one row per file.

    Its columns are path, label, split and group as listed, sha256 (empty for an unreadable file), and reason.
    `reason` says why the file is not an image, and is null for an image. Images also have width and height (upright, in
    pixels), format, orientation (EXIF, 1 to 8), size (bytes), `STATISTICS` and detail.
    """
    hashes: np.ndarray
    """Perceptual hashes (`pipeline.data.duplicates`), uint8 [n, 32]; zeros for files that are not images."""
    mirrored: np.ndarray
    """Hashes of the mirrored images, uint8 [n, 32]."""


def inspect(folder: Path, images: list[LabelledImage], cache_folder: Path, max_pixels: int) -> Inspection:
    """Read and decode image files on all cores; files that have not changed since the last inspection are skipped.

    Args:
        folder: Base folder of the images' paths.
        images: The listed images.
        cache_folder: Folder of the cache, which holds the results of earlier inspections.
        max_pixels: Largest width times height of an image that is decoded.
    """
    nameable = [image for image in images if _is_utf8(image.path)]
    with _open_cache(cache_folder, folder, fingerprint(max_pixels)) as cache:
        states = {image.path: file_state(os.path.join(folder, image.path)) for image in nameable}
        read = cache.execute("SELECT path, size, changed FROM readings")
        known = {path: (size, changed) for path, size, changed in read}
        new = [path for path, state in states.items() if known.get(path) != state]
        del known
        if len(new) < len(states):
            log.info("%d of %d files are unchanged and not read again", len(states) - len(new), len(states))
        places = ", ".join("?" * len(_COLUMNS))
        chunks = [new[start : start + _CHUNK] for start in range(0, len(new), _CHUNK)]
        with progress("reading images", len(new)) as advance:
            for rows in on_all_cores(lambda paths: _rows(folder, paths, states, max_pixels), chunks):
                with cache:
                    cache.executemany(f"INSERT OR REPLACE INTO readings VALUES ({places})", rows)
                advance(len(rows))
        contents, hashes, mirrored = _cached_table(cache, [image.path for image in nameable])
    listed = pd.DataFrame(nameable, columns=LabelledImage._fields, dtype="str")
    table = pd.concat([listed, contents.drop(columns=["path", "changed"])], axis=1)
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
        "grey": grey,
        "colours": colours,
    }


def _rows(folder: Path, paths: list[str], states: dict[str, tuple[int, int]], max_pixels: int) -> list[tuple]:
    """Read files and return their rows for the cache; statistics and hashes are computed for all files at once."""
    contents = [_read(os.path.join(folder, path), max_pixels) for path in paths]
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
    rows: list[Json] = []
    for path, content in zip(paths, contents, strict=True):
        # Unreadable files are read again each time, since new permissions change neither size nor modification time.
        size, changed = states[path] if content["sha256"] else (None, None)
        rows.append({"path": path, "size": size, "changed": changed} | content)
    return [tuple(map(row.get, _COLUMNS)) for row in rows]


@contextmanager
def _open_cache(cache_folder: Path, image_folder: Path, fingerprint: str) -> Iterator[sqlite3.Connection]:
    """Open the database of inspection results for the files in `image_folder`.

    If the cache is read-only, the database is copied into memory, and new rows are lost.

    Args:
        cache_folder: Folder of the cache.
        image_folder: Base folder of the images' paths.
        fingerprint: Result of `fingerprint`, on which the results depend besides the files.

    Raises:
        OSError: The disk is full.
    """
    name = hashlib.sha256(f"{image_folder}\0{fingerprint}".encode(errors="surrogateescape")).hexdigest()[:32]
    file = cache_folder / "readings" / f"{name}.sqlite"
    with closing(_connect(file) if is_writable(file.parent) else _copy(file)) as database:
        try:
            # A power failure may lose rows, whose files are then read again.
            database.execute("PRAGMA synchronous = OFF")
            columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
            database.execute(f"CREATE TABLE IF NOT EXISTS readings ({columns}) WITHOUT ROWID")
            yield database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error


def _cached_table(database: sqlite3.Connection, paths: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Read the results of files from the cache, in the order of `paths`.

    Returns:
        (table, hashes, mirrored): Table without the hashes, and both kinds of hashes, uint8 [n, HASH_BYTES]; hashes are
        zeros for files that are not images.
    """
    plain = [name for name in _COLUMNS if name not in ("hash", "mirrored")]
    dtypes = {name: _DTYPES.get(_COLUMNS[name], "str") for name in plain}
    cursor = database.execute(f"SELECT {', '.join(plain)}, hash, mirrored FROM readings")
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
    order = pd.Index(table["path"]).get_indexer(pd.Index(paths))
    ordered = np.concatenate(bits)[order]
    return table.iloc[order].reset_index(drop=True), ordered[:, 0], ordered[:, 1]


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not _is_intact(file):
        log.warning("%s is damaged; the images are read again", file)
        file.unlink()
    return sqlite3.connect(file, timeout=_LOCK_TIMEOUT)


def _copy(file: Path) -> sqlite3.Connection:
    """Copy a read-only database into memory; the copy is empty if the file is missing or damaged."""
    memory = sqlite3.connect(":memory:")
    if file.exists() and _is_intact(file):
        # SQLite can't write lock files here, and does not need them, since a read-only file does not change.
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?immutable=1", uri=True)) as stored:
            stored.backup(memory)
    return memory


def _is_intact(file: Path) -> bool:
    """Return whether a file is an undamaged database or does not exist."""
    if not file.exists():
        return True
    try:
        with closing(sqlite3.connect(file, timeout=_LOCK_TIMEOUT)) as database:
            return database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError:  # Another process has locked it.
        return True
    except sqlite3.DatabaseError:
        return False
