"""Images that are the same or belong together: groups that stay whole, and leaks between splits."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.data.duplicates import chain_pairs, connected_groups
from pipeline.system.errors import PipelineError

# An image in several splits stays in the one with the highest number.
_PRIORITY = {"train": 0, "validation": 1, "test": 2}
_EXAMPLES = 10


@dataclass(frozen=True)
class Leaks:
    """Images of units that are in several of the data set's own splits."""

    rows: np.ndarray
    """Rows of all images of these units, int [n], ascending."""
    removable: np.ndarray
    """Rows of those that a split of higher priority also has (test before validation before train), int [m]."""
    examples: list[str]
    """Descriptions of the first few."""


class LeakError(PipelineError):
    """The data set's own splits share images, and `dataset.on_leak` is fail."""

    def __init__(self, leaks: Leaks, duplicates: pd.DataFrame):
        """`duplicates`: all duplicate images, for a page that shows them."""
        self.leaks, self.duplicates = leaks, duplicates
        # As its arguments, so that the error survives pickling.
        super().__init__(leaks, duplicates)

    def __str__(self) -> str:
        examples = "\n".join(f"  - {each}" for each in self.leaks.examples)
        return (
            f"{len(self.leaks.rows)} images appear in more than one split (same image or same group):\n{examples}\n"
            "Accuracy on these splits would be inflated. Use dataset.on_leak=drop to remove "
            f"{len(self.leaks.removable)} of them from the splits that are trained on, dataset.on_leak=keep to keep and "
            "count them, or dataset.near_duplicates.find=false to compare only the bytes of files"
        )


def group_ids(pairs: pd.DataFrame, groups: pd.Series) -> np.ndarray:
    """Number the units that must stay in one split: images that are the same, and those of a group.

    Args:
        pairs: as `pipeline.data.duplicates.find_pairs` returns them.
        groups: group of each image, None where it has none.

    Returns:
        The unit of each image, int [n].
    """
    first, second = chain_pairs(pd.factorize(groups)[0])
    return connected_groups(len(groups), np.append(pairs["first"], first), np.append(pairs["second"], second))


def group_names(units: np.ndarray, paths: pd.Series, groups: pd.Series) -> pd.Series:
    """Name the unit of each image in the manifest.

    Returns:
        Its group (the first by name, where duplicates join several), or else its first image's path. None for an image
        that is alone in its unit and has no group.
    """
    alone = ~pd.Series(units, index=paths.index).duplicated(keep=False)
    group = groups.astype("str").groupby(units).transform("min")
    path = paths.groupby(units).transform("first")
    return group.where(group.notna(), path.where(~alone)).astype("str")


def find_leaks(images: pd.DataFrame, pairs: pd.DataFrame) -> Leaks:
    """Find the units that are in several splits.

    Args:
        images: path, split, unit and group.
        pairs: as `pipeline.data.duplicates.find_pairs` returns them.
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
        # Units of other images of a group, or the ends of a chain of near duplicates.
        units = images.iloc[rows].groupby("unit", sort=False)
        examples = [_unit_description(members) for _, members in list(units)[:_EXAMPLES]]
    return Leaks(rows, np.flatnonzero(rank < highest), examples)


def _unit_description(members: pd.DataFrame) -> str:
    first = members.iloc[0]
    splits = " and ".join(sorted(set(members["split"])))
    return f"{first['path']} ({first['split']}) and {len(members) - 1} images of its group, in {splits}"


def _similarity(kind: str, distance: int) -> str:
    return "the same bytes" if kind == "exact" else f"{kind} duplicates, {distance} of 256 bits differ"
