"""Curation of a data set: select readable images with consistent labels, and assign splits without leaks."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.config import CurationConfig
from pipeline.data.depths import one_depth
from pipeline.data.duplicates import connected_groups, find_pairs
from pipeline.data.inspection import STATISTICS, Inspection
from pipeline.data.leaks import LeakError, Leaks, find_leaks, group_ids, group_names
from pipeline.data.splits import assign_given_splits, cut_splits
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "split", "sha256", "width", "height", "format", "orientation", "group", *STATISTICS]
"""Columns of the manifest; with 16-bit files, it has the column depth as well."""
_TYPES = {"label": "str", "split": "str", "width": "int64", "height": "int64", "orientation": "int64", "depth": "Int64"}
_QUARANTINE_COLUMNS = ["path", "reason", "sha256"]


class TooFewImagesError(PipelineError):
    """Error for a data set with too few images for its splits, after some were excluded."""

    def __init__(self, message: str, quarantined: pd.DataFrame):
        """Create the error from its message and the excluded images, with the columns of quarantine.csv."""
        self.quarantined = quarantined
        super().__init__(message, quarantined)

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class Curated:
    """Curated data set, with the problems that were found in it."""

    manifest: pd.DataFrame
    """Table with the columns `COLUMNS`, and depth if there are 16-bit files, and one row per image.

    `group` names the unit of images that must stay in one split; it is None for a single image without a group.
    `depth` is the bits from which the samples of all 16-bit files are scaled; it is null for other files.
    """
    quarantined: pd.DataFrame
    """Columns path, reason and sha256 (empty for an unreadable file) of the excluded images."""
    duplicates: pd.DataFrame
    """Table of the images that have duplicates.

    Its columns are group (number from 1), path, label, given (original split), ties and distance. `ties` are the kinds
    of pairs in the group, and `distance` is the largest distance of a pair in bits.
    """
    leaks: Leaks
    """Images that occur in several of the data set's own splits."""
    counts: dict[str, int]
    """Number of duplicates, label conflicts, and leaked and dropped images, by metric name."""
    depths: dict[str, int]
    """Number of 16-bit files by the bits that their samples use."""


def curate(inspection: Inspection, classes: list[str], dataset: CurationConfig, seed: int) -> Curated:
    """Exclude unreadable images and label conflicts, and assign splits that share neither images nor groups.

    Args:
        inspection: Results of inspecting the files.
        classes: All class names.
        dataset: Settings for duplicates, leaks and splits.
        seed: Random seed for assigning images to splits.

    Raises:
        LeakError: The data set's own splits share images, and `dataset.on_leak` is fail.
        TooFewImagesError: A split has no readable image, or a missing split can't be created.
    """
    images, rows = _usable_images(inspection.table, dataset.test)
    pairs = find_pairs(images, inspection.hashes[rows], inspection.mirrored[rows], dataset.near_duplicates)
    same = connected_groups(len(images), pairs["first"].to_numpy(), pairs["second"].to_numpy())
    duplicates = _duplicates_table(images, pairs, same)
    # True for every copy of an image that occurs under several labels.
    in_conflict = (images["label"].groupby(same).transform("nunique") > 1).to_numpy()
    groups = int(duplicates["group"].nunique())
    counts = {
        "duplicate_groups": groups,
        "duplicates": len(duplicates) - groups,
        "label_conflicts": int(in_conflict.sum()),
    }
    quarantined = inspection.table.loc[inspection.table["reason"].notna(), _QUARANTINE_COLUMNS]
    if dataset.label_conflicts == "quarantine" and in_conflict.any():
        conflicts = _quarantine_conflicts(images[in_conflict], same[in_conflict])
        quarantined = pd.concat([quarantined, conflicts], ignore_index=True)
        images, pairs = _without(images, pairs, in_conflict)

    images["unit"] = group_ids(pairs, images["group"])
    leaks = find_leaks(images, pairs)
    if len(leaks.rows) and dataset.on_leak == "fail":
        raise LeakError(leaks, duplicates)
    counts |= {"leaked": len(leaks.rows), "dropped": 0}
    if dataset.on_leak == "drop":
        counts["dropped"] = len(leaks.removable)
        images = images.drop(index=images.index[leaks.removable]).reset_index(drop=True)
    images["label"] = pd.Categorical(images["label"], categories=classes)
    try:
        images["split"] = cut_splits(images, dataset, seed)
    except PipelineError as error:
        raise TooFewImagesError(str(error), quarantined) from error
    images["group"] = group_names(images["unit"].to_numpy(), images["path"], images["group"])
    manifest, depths = one_depth(images[[*COLUMNS, "depth"]].astype(_TYPES))
    return Curated(manifest, quarantined.sort_values("path", ignore_index=True), duplicates, leaks, counts, depths)


def _usable_images(table: pd.DataFrame, test: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Select the readable images, and assign the splits that the data set defines.

    Returns:
        (images, rows): Table of the images, and their rows in `table`, int [n].
    """
    rows = np.flatnonzero(table["reason"].isna())
    images = table.iloc[rows].reset_index(drop=True)
    unreadable = set(table["split"].dropna()) - set(images["split"].dropna())
    if unreadable:
        splits = " and ".join(sorted(unreadable))
        raise TooFewImagesError(
            f"No image of the {splits} split can be read; repair the files or remove the split",
            table.loc[table["reason"].notna(), _QUARANTINE_COLUMNS],
        )
    images["original_split"] = images["split"]
    images["split"] = assign_given_splits(images["split"], test)
    used = images["split"].notna().to_numpy()
    if not used.all():
        log.warning("%d images of the test split are not used, because of dataset.test=validation", (~used).sum())
    return images[used].reset_index(drop=True), rows[used]


def _quarantine_conflicts(images: pd.DataFrame, same: np.ndarray) -> pd.DataFrame:
    """Return the rows of quarantine.csv for images that occur under several labels."""
    labels = images["label"].groupby(same).transform(lambda names: ", ".join(sorted(set(names))))
    return images.assign(reason="the same image under several labels: " + labels)[_QUARANTINE_COLUMNS]


def _without(images: pd.DataFrame, pairs: pd.DataFrame, removed: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Remove the images that the mask `removed`, bool [n], selects, and all pairs with a removed image."""
    place = np.cumsum(~removed) - 1
    left = pairs[~removed[pairs["first"]] & ~removed[pairs["second"]]]
    left = left.assign(first=place[left["first"]], second=place[left["second"]])
    return images[~removed].reset_index(drop=True), left


def _duplicates_table(images: pd.DataFrame, pairs: pd.DataFrame, same: np.ndarray) -> pd.DataFrame:
    """Return the images that have duplicates, sorted by group, with the columns of duplicates.csv."""
    numbers = pd.Series(same)
    members = numbers[numbers.duplicated(keep=False)].sort_values(kind="stable")
    table = images.loc[members.index, ["path", "label", "original_split"]].rename(columns={"original_split": "given"})
    ties = pairs.assign(group=same[pairs["first"]]).groupby("group")
    kinds = ties["kind"].agg(lambda kind: " and ".join(sorted(set(kind))))
    table = table.assign(
        group=pd.factorize(members)[0] + 1, ties=members.map(kinds), distance=members.map(ties["distance"].max())
    )
    return table[["group", "path", "label", "given", "ties", "distance"]].reset_index(drop=True)
