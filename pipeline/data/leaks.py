"""Units of images that must stay in one split, and leaks between splits.

A unit consists of images that are duplicates of each other or belong to the same group.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.data.duplicates import chain_pairs, connected_groups
from pipeline.system.errors import PipelineError

# An image that is in several splits stays in the split with the highest number.
_PRIORITY = {"train": 0, "validation": 1, "test": 2}
_EXAMPLES = 10


@dataclass(frozen=True)
class Leaks:
    """Images of units that occur in several of the data set's own splits."""

    rows: np.ndarray
    """Rows of all images of these units, int [n], ascending."""
    removable: np.ndarray
    """Rows of the images whose unit also occurs in a split of higher priority (test, validation, train), int [m]."""
    examples: list[str]
    """Descriptions of the first few leaks."""


class LeakError(PipelineError):
    """Error for splits of a data set that share images, if `dataset.on_leak` is fail."""

    def __init__(self, leaks: Leaks, duplicates: pd.DataFrame):
        """Create the error.

        Args:
            leaks: Images that occur in several splits.
            duplicates: All duplicate images, for a page that shows them.
        """
        self.leaks, self.duplicates = leaks, duplicates
        # Unpickling an exception passes these arguments to the constructor.
        super().__init__(leaks, duplicates)

    def __str__(self) -> str:
        examples = "\n".join(f"  - {each}" for each in self.leaks.examples)
        return (
            f"{len(self.leaks.rows)} images appear in more than one split (same image or same group):\n{examples}\n"
            "Accuracy on these splits would be inflated. Use dataset.on_leak=drop to remove "
            f"{len(self.leaks.removable)} of them from the training or validation split, dataset.on_leak=keep to keep "
            "and count them, or dataset.near_duplicates.find=false to compare only the bytes of files"
        )


def group_ids(pairs: pd.DataFrame, groups: pd.Series) -> np.ndarray:
    """Assign each image to a unit that must stay in one split.

    Args:
        pairs: Duplicates returned by `pipeline.data.duplicates.find_pairs`.
        groups: Group of each image, None for an image without a group.

    Returns:
        Number of each image's unit, int [n].
    """
    first, second = chain_pairs(pd.factorize(groups)[0])
    return connected_groups(len(groups), np.append(pairs["first"], first), np.append(pairs["second"], second))


def group_names(units: np.ndarray, paths: pd.Series, groups: pd.Series) -> pd.Series:
    """Return the name of each image's unit for the manifest.

    Args:
        units: Number of each image's unit, int [n].
        paths: Path of each image.
        groups: Group of each image, None for an image without a group.

    Returns:
        The unit's group (the first by name if duplicates connect several groups), otherwise the path of its first
        image. None for an image that is alone in its unit and has no group.
    """
    alone = ~pd.Series(units, index=paths.index).duplicated(keep=False)
    group = groups.astype("str").groupby(units).transform("min")
    path = paths.groupby(units).transform("first")
    return group.where(group.notna(), path.where(~alone)).astype("str")


def find_leaks(images: pd.DataFrame, pairs: pd.DataFrame) -> Leaks:
    """Find the units that occur in several splits.

    Args:
        images: Columns path, split, unit and group of each image.
        pairs: Duplicates returned by `pipeline.data.duplicates.find_pairs`.
    """
    rank = images["split"].map(_PRIORITY).to_numpy()
    by_unit = pd.Series(rank).groupby(images["unit"].to_numpy())
    highest, lowest = by_unit.transform("max").to_numpy(), by_unit.transform("min").to_numpy()
    crossing = rank[pairs["first"]] != rank[pairs["second"]]
    paths = images["path"].to_numpy()
    examples = [
        f"{paths[pair.first]} and {paths[pair.second]} ({_similarity(pair.kind, pair.distance)})"
        for pair in pairs[crossing].head(_EXAMPLES).itertuples()
    ]
    rows = np.flatnonzero(highest != lowest)
    if not examples:
        # The leaks are different images of a group, or the ends of a chain of near duplicates.
        units = images.iloc[rows].groupby("unit", sort=False)
        examples = [_unit_description(members) for _, members in list(units)[:_EXAMPLES]]
    return Leaks(rows, np.flatnonzero(rank < highest), examples)


def _unit_description(members: pd.DataFrame) -> str:
    first = members.iloc[0]
    splits = " and ".join(sorted(set(members["split"])))
    return f"{first['path']} ({first['split']}) and {len(members) - 1} other images of its group, in {splits}"


def _similarity(kind: str, distance: int) -> str:
    return "identical files" if kind == "exact" else f"{kind} duplicates, {distance} of 256 bits differ"
