"""Data sources: folders, tables, and data sets that bring their own images."""

import hashlib
import os
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pipeline.config import CurationConfig, DatasetConfig
from pipeline.data.bundled import write_digits, write_tfds
from pipeline.data.listing import ENDINGS, Listing, list_folder, list_table, table_paths, walk
from pipeline.storage.files import file_sha256, file_state
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve


def image_folder(dataset: DatasetConfig) -> Path:
    """Return the folder that the paths of a data set's images start from; generated images are written there first.

    Raises:
        PipelineError: `dataset.path` does not exist, or is a file instead of a folder or the reverse.
    """
    if dataset.source == "digits":
        return write_digits(resolve("data/digits"))
    if dataset.source == "tfds":
        return write_tfds(dataset.tfds or "", resolve("data"))
    path = _path(dataset)
    if dataset.source == "csv":
        if not path.is_file():
            raise PipelineError(
                f"dataset.path: {dataset.path!r} is not a file ({path}); expected a CSV file with one row per image"
            )
        return path.parent
    if not path.is_dir():
        kind = "is a file" if path.exists() else "does not exist"
        raise PipelineError(
            f"dataset.path: {dataset.path!r} {kind} ({path}); expected a folder with one sub-folder of images per class"
        )
    return path


def table_file(dataset: DatasetConfig) -> Path | None:
    """Return the CSV file of a data set that is a table, or None."""
    return _path(dataset) if dataset.source == "csv" else None


def list_images(dataset: DatasetConfig) -> Listing:
    """List all images of a configured data set, sorted by path; see `list_source`."""
    return list_source(dataset, image_folder(dataset), table_file(dataset))


def list_source(dataset: CurationConfig, folder: Path, table: Path | None) -> Listing:
    """List all images of a data set, sorted by path.

    Args:
        dataset: columns of a table, and groups.
        folder: folder that the images' paths start from.
        table: CSV file that lists the images; None: classes are read off the folder.

    Raises:
        PipelineError: no images, a single class, or labels, splits or groups that contradict each other.
    """
    if table is not None:
        return list_table(table, dataset.columns, dataset.groups)
    listing = list_folder(folder)
    return listing if dataset.groups is None else _with_groups(listing, dataset.groups)


def listing_digest(dataset: DatasetConfig) -> str:
    """Return a sha256 over path, size and modification time of each image."""
    digest = hashlib.sha256(dataset.source.encode())
    if dataset.source == "digits":
        digest.update(version("scikit-learn").encode())
    elif dataset.source == "tfds":
        digest.update((dataset.tfds or "").encode())
    else:
        folder, table = image_folder(dataset), table_file(dataset)
        if table:
            digest.update(file_sha256(table).encode())
        images = (path for path, _ in walk(folder) if os.path.splitext(path)[1].lower() in ENDINGS)
        for path in table_paths(table, dataset.columns) if table else images:
            size, changed = file_state(os.path.join(folder, path))
            digest.update(os.fsencode(f"{path}\0{size}\0{changed}\n"))
    return digest.hexdigest()


def _path(dataset: DatasetConfig) -> Path:
    assert dataset.path is not None, "validation requires a path for folders and tables"
    return resolve(dataset.path)


def _with_groups(listing: Listing, pattern: str) -> Listing:
    """Add the groups that a regular expression finds in the paths."""
    expression = re.compile(pattern)
    images, without = [], []
    for image in listing.images:
        match = expression.search(image.path)
        # An optional group that did not match is None.
        group = match and (match[1] if expression.groups else match[0])
        if not group:
            without.append(image.path)
        images.append(image._replace(group=group))
    if without:
        raise PipelineError(
            f"dataset.groups: {pattern!r} finds no group for {len(without)} of {len(images)} images, first {without[0]!r}; "
            "change it so that it matches every path, and its first group is not empty"
        )
    return replace(listing, images=images)
