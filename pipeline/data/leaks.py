"""What follows from images that are the same, or belong together: conflicts of labels, units that are not torn apart, leaks between splits."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.data.duplicates import chain, tied_together
from pipeline.system.errors import PipelineError

# The split that is chosen or measured by keeps what it shares with one that is learned from.
_PRECEDENCE = {"train": 0, "validation": 1, "test": 2}
_NAMED = 10


@dataclass(frozen=True)
class Leaks:
    """Units of images that lie in several given splits."""

    rows: np.ndarray
    """All images of these units, in order; int."""
    removable: np.ndarray
    """Those of them that another split has a stronger claim on (test before validation before train)."""
    named: list[str]
    """A sentence on each, the first few."""


def conflicting(labels: pd.Series, units: np.ndarray) -> np.ndarray:
    """Which images occur under several labels: bool [n], true for all images of a unit that has more than one."""
    return (labels.astype(str).groupby(units).transform("nunique") > 1).to_numpy()


def group_ids(pairs: pd.DataFrame, groups: pd.Series) -> np.ndarray:
    """What must not be torn apart: images that are the same, and those of a group; a number for each, int [n]."""
    first, second = chain(pd.factorize(groups)[0])
    return tied_together(len(groups), np.append(pairs["first"], first), np.append(pairs["second"], second))


def group_names(units: np.ndarray, paths: pd.Series, groups: pd.Series) -> pd.Series:
    """The manifest's name of each image's unit: its group (the first by name, where duplicates join several), else its first image's path;
    None for an image that stands alone."""
    alone = ~pd.Series(units, index=paths.index).duplicated(keep=False)
    group = groups.astype("str").groupby(units).transform("min")
    path = paths.groupby(units).transform("first")
    return group.where(group.notna(), path.where(~alone)).astype("str")


def find_leaks(images: pd.DataFrame, pairs: pd.DataFrame) -> Leaks:
    """The units that lie in several splits.

    Args:
        images: path, split, unit and group.
        pairs: as `pipeline.data.duplicates.find_pairs` gives them.
    """
    rank = images["split"].map(_PRECEDENCE).to_numpy()
    highest = pd.Series(rank).groupby(images["unit"].to_numpy()).transform("max").to_numpy()
    lowest = pd.Series(rank).groupby(images["unit"].to_numpy()).transform("min").to_numpy()
    crossing = rank[pairs["first"]] != rank[pairs["second"]]
    paths = images["path"].to_numpy()
    named = [
        f"{paths[pair.first]} and {paths[pair.second]} ({_alike(pair.kind, pair.distance)})"
        for pair in pairs[crossing].head(_NAMED).itertuples()
    ]
    rows = np.flatnonzero(highest != lowest)
    if not named:
        # Torn groups of other images, or the ends of a row of near ones.
        units = images.iloc[rows].groupby("unit", sort=False)
        named = [
            f"{members['path'].iloc[0]} ({members['split'].iloc[0]}) and the {len(members) - 1} images that belong to it, of {' and '.join(sorted(set(members['split'])))}"
            for _, members in list(units)[:_NAMED]
        ]
    return Leaks(rows, np.flatnonzero(rank < highest), named)


class LeakError(PipelineError):
    """Given splits share images, and `dataset.on_leak` is fail."""

    def __init__(self, leaks: Leaks, duplicates: pd.DataFrame):
        """`duplicates`: all duplicate images, for a page that shows them."""
        self.duplicates = duplicates
        super().__init__(
            f"The given splits share images: {len(leaks.rows)} images are in one split and, the same or of the same group, in another:\n"
            + "\n".join(f"  - {each}" for each in leaks.named)
            + f"\nAccuracy on these splits would be inflated. dataset.on_leak=drop leaves {len(leaks.removable)} of them out of the split that is "
            "trained on, dataset.on_leak=keep counts them; dataset.near_duplicates.find=false compares files' bytes only"
        )


def _alike(kind: str, distance: int) -> str:
    return "the same bytes" if kind == "exact" else f"{kind} duplicates, {distance} of 256 bits differ"
