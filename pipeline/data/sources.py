"""Data sources: folders, CSV files, scikit-learn's digits and TensorFlow Datasets."""

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
    """Return the base folder of a data set's image paths.

    The images of the sources digits and tfds are first written there.

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
    """Return the CSV file that lists a data set's images, or None for other data sources."""
    return _path(dataset) if dataset.source == "csv" else None


def list_images(dataset: DatasetConfig) -> Listing:
    """List all images of the configured data set, sorted by path; see `list_source`."""
    return list_source(dataset, image_folder(dataset), table_file(dataset))


def list_source(dataset: CurationConfig, folder: Path, table: Path | None) -> Listing:
    """List all images of a data set, sorted by path.

    Args:
        dataset: Column names of a CSV file, and the setting of groups.
        folder: Base folder of the images' paths.
        table: CSV file that lists the images; None if sub-folders are classes.

    Raises:
        PipelineError: There are no images or only one class, or labels, splits or groups contradict each other.
    """
    if table is not None:
        return list_table(table, dataset.columns, dataset.groups)
    listing = list_folder(folder)
    return listing if dataset.groups is None else _with_groups(listing, dataset.groups)


def listing_digest(dataset: DatasetConfig) -> str:
    """Return a sha256 digest of the data source, which changes if an image is added, removed or modified.

    It covers each image's path, size and modification time, or the name and version of a published data set.
    """
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
    """Set each image's group to the part of its path that a regular expression matches."""
    expression = re.compile(pattern)
    images, without = [], []
    for image in listing.images:
        match = expression.search(image.path)
        # An optional group of the expression that did not match is None.
        group = match and (match[1] if expression.groups else match[0])
        if not group:
            without.append(image.path)
        images.append(image._replace(group=group))
    if without:
        raise PipelineError(
            f"dataset.groups: {pattern!r} finds no group for {len(without)} of {len(images)} images, such as {without[0]!r}; "
            "change the expression so that it matches every path and its first group is not empty"
        )
    return replace(listing, images=images)
