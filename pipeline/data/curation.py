"""From what was read to what the stages train on: readable pictures of one label each, split so that nothing leaks."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.config import DatasetConfig
from pipeline.data.duplicates import find_pairs, tied_together
from pipeline.data.inspection import STATISTICS, Inspected
from pipeline.data.sameness import Leaks, conflicting, find_leaks, names_of, units_of
from pipeline.data.splits import cut_splits, serving
from pipeline.errors import PipelineError

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "split", "sha256", "width", "height", "format", "orientation", "group", *STATISTICS]
"""Of the manifest."""
_TYPES = {"label": "str", "split": "str", "width": "int64", "height": "int64", "orientation": "int64"}
_QUARANTINED = ["path", "reason", "sha256"]


@dataclass(frozen=True)
class Curated:
    """A data set that can be trusted, and what it took."""

    manifest: pd.DataFrame
    """COLUMNS, a row a picture; group: what was not torn apart by a split, None for a picture that stands alone."""
    quarantined: pd.DataFrame
    """path, reason and sha256 (empty where the file can't be read) of what is left out."""
    duplicates: pd.DataFrame
    """group (from 1), path, label, given (split) of all pictures that have duplicates; and of their group ties (how they were found) and
    distance (the largest, in bits)."""
    leaks: Leaks
    figures: dict[str, int]
    """Counts of what was found."""


def curate(
    inspected: Inspected,
    classes: list[str],
    dataset: DatasetConfig,
    seed: int,
    refuse: Callable[[pd.DataFrame, Leaks], None],
) -> Curated:
    """Leave out what can't be read and what has two labels, and assign splits that share neither pictures nor groups.

    Args:
        inspected: what the files hold.
        classes: all labels.
        dataset: what to do about duplicates and leaks.
        seed: of the splits that are cut off.
        refuse: called with the duplicates and the leaks where given splits leak and `dataset.on_leak` is fail; raises.

    Raises:
        PipelineError: a given split without a readable picture, or splits that can't be cut.
    """
    pictures, rows = _served(inspected.table, dataset.test)
    pairs = find_pairs(pictures, inspected.hashes[rows], inspected.mirrored[rows], dataset.near_duplicates)
    same = tied_together(len(pictures), pairs["first"], pairs["second"])
    duplicates = _listed(pictures, pairs, same)
    in_conflict = conflicting(pictures["label"], same)
    groups = int(duplicates["group"].nunique())
    figures = {
        "duplicate_groups": groups,
        "duplicates": len(duplicates) - groups,
        "label_conflicts": int(in_conflict.sum()),
    }
    quarantined = inspected.table.loc[inspected.table["reason"].notna(), _QUARANTINED]
    if dataset.label_conflicts == "quarantine" and in_conflict.any():
        quarantined = pd.concat([quarantined, _conflicts(pictures[in_conflict], same[in_conflict])], ignore_index=True)
        pictures, pairs = _without(pictures, pairs, in_conflict)

    pictures["unit"] = units_of(pairs, pictures["group"])
    leaks = find_leaks(pictures, pairs)
    if len(leaks.rows) and dataset.on_leak == "fail":
        refuse(duplicates, leaks)
    figures |= {"leaked": len(leaks.rows), "dropped": 0}
    if dataset.on_leak == "drop":
        figures["dropped"] = len(leaks.surplus)
        pictures = pictures.drop(index=leaks.surplus).reset_index(drop=True)
    pictures["label"] = pd.Categorical(pictures["label"], categories=classes)
    pictures["split"] = cut_splits(pictures, dataset, seed)
    pictures["group"] = names_of(pictures["unit"].to_numpy(), pictures["path"], pictures["group"])
    manifest = pictures[COLUMNS].astype(_TYPES)
    return Curated(manifest, quarantined.sort_values("path", ignore_index=True), duplicates, leaks, figures)


def _served(table: pd.DataFrame, test: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The readable pictures that serve for something, `split` saying for what where it is given, and their rows in the table."""
    rows = np.flatnonzero(table["reason"].isna())
    pictures = table.iloc[rows].reset_index(drop=True)
    lost = set(table["split"].dropna()) - set(pictures["split"].dropna())
    if lost:
        raise PipelineError(
            f"No picture of the given {' and '.join(sorted(lost))} split can be read; mend or remove it"
        )
    pictures["given"] = pictures["split"]
    pictures["split"] = serving(pictures["split"], test)
    served = pictures["split"].notna().to_numpy()
    if not served.all():
        log.warning("%d pictures of the given test split put aside, since dataset.test=validation", (~served).sum())
    return pictures[served].reset_index(drop=True), rows[served]


def _conflicts(pictures: pd.DataFrame, same: np.ndarray) -> pd.DataFrame:
    """The quarantine's rows of pictures that have several labels."""
    labels = pictures["label"].groupby(same).transform(lambda names: ", ".join(sorted(set(names))))
    return pictures.assign(reason="the same picture under several labels: " + labels)[_QUARANTINED]


def _without(pictures: pd.DataFrame, pairs: pd.DataFrame, gone: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pictures that are not `gone`, bool [n], and the pairs among them."""
    place = np.cumsum(~gone) - 1
    left = pairs[~gone[pairs["first"]] & ~gone[pairs["second"]]]
    return pictures[~gone].reset_index(drop=True), left.assign(first=place[left["first"]], second=place[left["second"]])


def _listed(pictures: pd.DataFrame, pairs: pd.DataFrame, same: np.ndarray) -> pd.DataFrame:
    """All pictures that have duplicates, group by group."""
    numbers = pd.Series(same)
    members = numbers[numbers.duplicated(keep=False)].sort_values(kind="stable")
    listed = pictures.loc[members.index, ["path", "label", "given"]]
    ties = pairs.assign(group=same[pairs["first"]]).groupby("group")
    kinds = ties["kind"].agg(lambda kind: " and ".join(sorted(set(kind))))
    table = listed.assign(
        group=pd.factorize(members)[0] + 1, ties=members.map(kinds), distance=members.map(ties["distance"].max())
    )
    return table[["group", "path", "label", "given", "ties", "distance"]].reset_index(drop=True)
