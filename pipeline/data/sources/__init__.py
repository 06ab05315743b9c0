"""Data sources: folders, tables, and data sets that bring their own images."""

import hashlib
import os
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pipeline.config import CurationConfig, DatasetConfig
from pipeline.data.listing import Listing
from pipeline.data.sources.folder import ENDINGS, list_folder, walk
from pipeline.data.sources.table import list_table, table_paths
from pipeline.storage.files import file_sha256, file_state
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve


def image_folder(dataset: DatasetConfig) -> Path:
    """The folder that the paths of a data set's images start from; images that come from elsewhere are written there first.

    Raises:
        PipelineError: what `dataset.path` names does not exist, or is of another kind.
    """
    # Either loads heavy libraries, and only when it has something to write.
    if dataset.source == "digits":
        from pipeline.data.sources.digits import write_digits

        return write_digits(resolve("data/digits"))
    if dataset.source == "tfds":
        from pipeline.data.sources.tfds import write_tfds

        return write_tfds(dataset.tfds, resolve("data"))
    path = resolve(dataset.path)
    if dataset.source == "csv":
        if not path.is_file():
            raise PipelineError(
                f"dataset.path: {dataset.path!r} is no file (looked at {path}); give a CSV file with a row an image"
            )
        return path.parent
    if not path.is_dir():
        kind = "is a file" if path.exists() else "does not exist"
        raise PipelineError(
            f"dataset.path: {dataset.path!r} {kind} (looked at {path}); give a folder with one sub-folder of images a class"
        )
    return path


def table_file(dataset: DatasetConfig) -> Path | None:
    """The CSV file of a data set that is a table; None for others."""
    return resolve(dataset.path) if dataset.source == "csv" else None


def list_images(dataset: DatasetConfig) -> Listing:
    """All images of a configured data set, sorted by path; see `list_source`."""
    return list_source(dataset, image_folder(dataset), table_file(dataset))


def list_source(dataset: CurationConfig, folder: Path, table: Path | None) -> Listing:
    """All images of a data set, sorted by path.

    Args:
        dataset: names the columns of a table, and what groups images.
        folder: that the images' paths start from.
        table: the CSV file that lists them; None: the folder's own structure gives the classes.

    Raises:
        PipelineError: there are none, they are of one class, or labels, splits or groups contradict each other.
    """
    if table is not None:
        return list_table(table, dataset.columns, dataset.groups)
    listing = list_folder(folder)
    return listing if dataset.groups is None else _grouped(listing, dataset.groups)


def listing_digest(dataset: DatasetConfig) -> str:
    """sha256 over path, size and modification time of each image: changes when images come, go or change."""
    digest = hashlib.sha256(dataset.source.encode())
    if dataset.source == "digits":
        digest.update(version("scikit-learn").encode())
    elif dataset.source == "tfds":
        digest.update(dataset.tfds.encode())
    else:
        folder = image_folder(dataset)
        if dataset.source == "csv":
            digest.update(file_sha256(resolve(dataset.path)).encode())
            paths = table_paths(resolve(dataset.path), dataset.columns)
        else:
            paths = (path for path, _ in walk(folder) if os.path.splitext(path)[1].lower() in ENDINGS)
        for path in paths:
            size, changed = file_state(os.path.join(folder, path))
            digest.update(os.fsencode(f"{path}\0{size}\0{changed}\n"))
    return digest.hexdigest()


def _grouped(listing: Listing, pattern: str) -> Listing:
    """The listing with groups as a regular expression finds them in the paths."""
    expression, images, without = re.compile(pattern), [], []
    for image in listing.images:
        match = expression.search(image.path)
        # A group that takes no part in the match is none.
        group = match and (match[1] if expression.groups else match[0])
        if not group:
            without.append(image.path)
        images.append(image._replace(group=group))
    if without:
        raise PipelineError(
            f"dataset.groups: {pattern!r} names no group for {len(without)} of {len(images)} images, first {without[0]!r}; "
            "mend it so that it matches every path, and its first group something in it"
        )
    return replace(listing, images=images)
