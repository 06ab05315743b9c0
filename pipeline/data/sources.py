"""Data sources: folders, CSV files, scikit-learn's digits and TensorFlow Datasets."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pipeline.config import CurationConfig, DatasetConfig
from pipeline.data.bundled import check_tfds, tfds_folder, write_digits, write_tfds
from pipeline.data.listing import Listing, list_folder
from pipeline.data.tables import list_table
from pipeline.inputs.decoding import heif_version
from pipeline.storage.digests import file_digests
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve

_HEIF = (".heic", ".heif", ".hif")


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
                f"dataset.path: {dataset.path!r} is not a file ({path}); expected a CSV file with one row per image, or "
                "use dataset=folder for a folder"
            )
        return path.parent
    if not path.is_dir():
        kind = "is a file; use dataset=csv for a table" if path.exists() else "does not exist"
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


def check_images(dataset: DatasetConfig) -> None:
    """Check that the configured images are there, before anything is computed.

    Raises:
        PipelineError: See `list_images`; or none of the listed files is there.
    """
    # The images of other sources are made or downloaded by the first job.
    if dataset.source in ("folder", "csv"):
        refuse_absent(list_images(dataset))
    elif dataset.source == "tfds":
        check_tfds(dataset.tfds or "", resolve("data"))


def refuse_absent(listing: Listing) -> None:
    """Raise an error if none of the listed files is there."""
    if listing.absent:
        raise PipelineError(listing.absent)


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
        return list_table(table, dataset.columns, dataset.groups, dataset.images)
    listing = list_folder(folder, dataset.splits, dataset.class_level)
    return listing if dataset.groups is None else _with_groups(listing, dataset.groups)


def count_images(dataset: DatasetConfig) -> dict[str, int] | None:
    """Estimate the numbers of images of a data set that is not prepared yet, without writing or reading images.

    Returns:
        Numbers in total (`all`) and of the splits; None if the images of a bundled data set are not written yet.

    Raises:
        PipelineError: See `list_images`.
    """
    written = {"digits": resolve("data/digits"), "tfds": tfds_folder(dataset.tfds or "", resolve("data"))}
    if dataset.source in written and not written[dataset.source].is_dir():
        return None
    splits = Counter(image.split or "train" for image in list_images(dataset).images)
    if dataset.test == "validation":
        splits["test"] = splits.pop("validation", 0)
    for split, fraction in (("test", dataset.test_fraction), ("validation", dataset.validation_fraction)):
        if not splits[split]:
            splits[split] = round(splits["train"] * fraction)
            splits["train"] -= splits[split]
    return {"all": splits.total(), **splits}


def listing_digest(dataset: DatasetConfig, cache: Path, *, remember: bool = True) -> str:
    """Return a sha256 over the relative paths, labels, splits, groups and contents of a data set's images.

    It is the same for copies of the images, wherever they lie. Files are read only if the file system says that they
    have changed.

    Args:
        dataset: The configured data set.
        cache: Cache folder, which remembers the digests of the files.
        remember: Whether to write new digests to the cache.

    Raises:
        PipelineError: See `list_images`.
    """
    if dataset.source == "digits":
        parts = [version("scikit-learn")]
    elif dataset.source == "tfds":
        parts = [dataset.tfds or ""]
    else:
        folder = image_folder(dataset)
        listing = list_source(dataset, folder, table_file(dataset))
        digests = file_digests(folder, [image.path for image in listing.images], cache, remember=remember)
        parts = [json.dumps(listing.classes)]
        parts += [json.dumps([*image, sha256]) for image, sha256 in zip(listing.images, digests, strict=True)]
        if any(image.path.lower().endswith(_HEIF) for image in listing.images):
            # Whether these files are quarantined depends on an optional package.
            parts.append(str(heif_version()))
    return hashlib.sha256("\n".join([dataset.source, *parts]).encode()).hexdigest()


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
