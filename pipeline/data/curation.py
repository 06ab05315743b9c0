"""From what was read to what the stages train on: readable images of one label each, split so that nothing leaks."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.config import CurationConfig
from pipeline.data.duplicates import find_pairs, tied_together
from pipeline.data.inspection import STATISTICS, Inspected
from pipeline.data.leaks import LeakError, Leaks, conflicting, find_leaks, group_ids, group_names
from pipeline.data.splits import cut_splits, serving
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "split", "sha256", "width", "height", "format", "orientation", "group", *STATISTICS]
"""Of the manifest."""
_TYPES = {"label": "str", "split": "str", "width": "int64", "height": "int64", "orientation": "int64"}
_QUARANTINED = ["path", "reason", "sha256"]


@dataclass(frozen=True)
class Curated:
    """A data set that can be trusted, and what it took."""

    manifest: pd.DataFrame
    """COLUMNS, a row an image; group: what was not torn apart by a split, None for an image that stands alone."""
    quarantined: pd.DataFrame
    """path, reason and sha256 (empty where the file can't be read) of what is left out."""
    duplicates: pd.DataFrame
    """group (from 1), path, label, given (split) of all images that have duplicates; and of their group ties (how they were found) and
    distance (the largest, in bits)."""
    leaks: Leaks
    figures: dict[str, int]
    """Counts of what was found."""


def curate(
    inspected: Inspected,
    classes: list[str],
    dataset: CurationConfig,
    seed: int,
) -> Curated:
    """Leave out what can't be read and what has two labels, and assign splits that share neither images nor groups.

    Args:
        inspected: what the files hold.
        classes: all labels.
        dataset: what to do about duplicates and leaks.
        seed: of the splits that are cut off.

    Raises:
        LeakError: given splits share images, and `dataset.on_leak` is fail.
        PipelineError: a given split without a readable image, or splits that can't be cut.
    """
    images, rows = _served(inspected.table, dataset.test)
    pairs = find_pairs(images, inspected.hashes[rows], inspected.mirrored[rows], dataset.near_duplicates)
    same = tied_together(len(images), pairs["first"], pairs["second"])
    duplicates = _listed(images, pairs, same)
    in_conflict = conflicting(images["label"], same)
    groups = int(duplicates["group"].nunique())
    figures = {
        "duplicate_groups": groups,
        "duplicates": len(duplicates) - groups,
        "label_conflicts": int(in_conflict.sum()),
    }
    quarantined = inspected.table.loc[inspected.table["reason"].notna(), _QUARANTINED]
    if dataset.label_conflicts == "quarantine" and in_conflict.any():
        quarantined = pd.concat([quarantined, _conflicts(images[in_conflict], same[in_conflict])], ignore_index=True)
        images, pairs = _without(images, pairs, in_conflict)

    images["unit"] = group_ids(pairs, images["group"])
    leaks = find_leaks(images, pairs)
    if len(leaks.rows) and dataset.on_leak == "fail":
        raise LeakError(leaks, duplicates)
    figures |= {"leaked": len(leaks.rows), "dropped": 0}
    if dataset.on_leak == "drop":
        figures["dropped"] = len(leaks.removable)
        images = images.drop(index=leaks.removable).reset_index(drop=True)
    images["label"] = pd.Categorical(images["label"], categories=classes)
    images["split"] = cut_splits(images, dataset, seed)
    images["group"] = group_names(images["unit"].to_numpy(), images["path"], images["group"])
    manifest = images[COLUMNS].astype(_TYPES)
    return Curated(manifest, quarantined.sort_values("path", ignore_index=True), duplicates, leaks, figures)


def _served(table: pd.DataFrame, test: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The readable images that serve for something, `split` saying for what where it is given, and their rows in the table."""
    rows = np.flatnonzero(table["reason"].isna())
    images = table.iloc[rows].reset_index(drop=True)
    lost = set(table["split"].dropna()) - set(images["split"].dropna())
    if lost:
        raise PipelineError(f"No image of the given {' and '.join(sorted(lost))} split can be read; mend or remove it")
    images["given"] = images["split"]
    images["split"] = serving(images["split"], test)
    served = images["split"].notna().to_numpy()
    if not served.all():
        log.warning("%d images of the given test split put aside, since dataset.test=validation", (~served).sum())
    return images[served].reset_index(drop=True), rows[served]


def _conflicts(images: pd.DataFrame, same: np.ndarray) -> pd.DataFrame:
    """The quarantine's rows of images that have several labels."""
    labels = images["label"].groupby(same).transform(lambda names: ", ".join(sorted(set(names))))
    return images.assign(reason="the same image under several labels: " + labels)[_QUARANTINED]


def _without(images: pd.DataFrame, pairs: pd.DataFrame, gone: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The images that are not `gone`, bool [n], and the pairs among them."""
    place = np.cumsum(~gone) - 1
    left = pairs[~gone[pairs["first"]] & ~gone[pairs["second"]]]
    return images[~gone].reset_index(drop=True), left.assign(first=place[left["first"]], second=place[left["second"]])


def _listed(images: pd.DataFrame, pairs: pd.DataFrame, same: np.ndarray) -> pd.DataFrame:
    """All images that have duplicates, group by group."""
    numbers = pd.Series(same)
    members = numbers[numbers.duplicated(keep=False)].sort_values(kind="stable")
    listed = images.loc[members.index, ["path", "label", "given"]]
    ties = pairs.assign(group=same[pairs["first"]]).groupby("group")
    kinds = ties["kind"].agg(lambda kind: " and ".join(sorted(set(kind))))
    table = listed.assign(
        group=pd.factorize(members)[0] + 1, ties=members.map(kinds), distance=members.map(ties["distance"].max())
    )
    return table[["group", "path", "label", "given", "ties", "distance"]].reset_index(drop=True)
