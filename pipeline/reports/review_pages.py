"""HTML pages for manual review: duplicate images and images with doubtful labels."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.visuals.pages import Group, Thumbnail, write_thumbnails

_MAX_GROUPS, _MAX_MEMBERS = 100, 8
_MAX_IMAGES = 120


def write_duplicates(duplicates: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the page of duplicate images.

    Groups with several labels come first, then groups in several original splits, then groups of large distance.

    Args:
        duplicates: Content of duplicates.csv of stage prepare.
        folder: Base folder of its paths.
        file: Output HTML file.
    """
    by_group = duplicates.groupby("group")
    order = by_group.agg(labels=("label", "nunique"), splits=("given", "nunique"), distance=("distance", "first"))
    order = order.sort_values(["labels", "splits", "distance"], ascending=False, kind="stable")
    groups = [_group(number, by_group.get_group(number), folder) for number in order.index[:_MAX_GROUPS]]
    if len(order):
        several, across = (int((order[column] > 1).sum()) for column in ("labels", "splits"))
        introduction = (
            f"Groups of files that show the same image: {len(order)}, with {len(duplicates)} files. "
            f"Under several labels: {several}; in several original splits: {across}. "
            "These groups come first, then the groups whose images differ most."
        )
        if len(order) > _MAX_GROUPS:
            introduction += f" The first {_MAX_GROUPS} groups are shown; duplicates.csv lists all."
    else:
        introduction = "No two files show the same image."
    write_thumbnails(file, "Duplicates", introduction, groups)


def _group(number: int, members: pd.DataFrame, folder: Path) -> Group:
    """Return a group with thumbnails of its first files."""
    first = members.iloc[0]
    title = f"Group {number}: {len(members)} files, {first['ties']}"
    if first["ties"] != "exact":
        title += f", up to {first['distance']:.0f} of 256 bits differ"
    title += ", several labels" * (members["label"].nunique() > 1)
    title += ", across splits" * (members["given"].nunique() > 1)
    if len(members) > _MAX_MEMBERS:
        title += f" (the first {_MAX_MEMBERS} are shown)"
    shown = members.head(_MAX_MEMBERS)[["path", "label"]].to_numpy()
    return Group(title, [Thumbnail(folder, path, label, (path,)) for path, label in shown])


def write_label_issues(table: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the page of doubtful labels.

    Args:
        table: Content of label_issues.csv of stage train; empty if labels were not checked.
        folder: Base folder of its paths.
        file: Output HTML file.
    """
    likely, hard = doubtful_labels(table)
    introduction = (
        "Labels were not checked: train.label_issues is off, the backbone is not pretrained, "
        "or its features are too large to be cached."
        if table.empty
        else f"A cross-validated model prefers another class for {len(likely) + len(hard)} of {len(table)} training and "
        "validation images. The most doubtful labels come first; label_issues.csv lists all. "
        "Check each image before you change its label."
    )
    notes = {
        "Likely label errors": (likely, "The model is as sure of the other class as it is of that class's own images."),
        "Hard images": (
            hard,
            "The model prefers another class, but without being sure: most of these labels are right.",
        ),
    }
    groups = [
        Group(f"{title} ({len(rows)})", [_doubtful(row, folder) for row in rows[:_MAX_IMAGES].to_dict("records")], note)
        for title, (rows, note) in notes.items()
        if len(rows)
    ]
    write_thumbnails(file, "Doubtful labels", introduction, groups)


def doubtful_labels(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide images whose predicted class is not their label into likely label errors and hard images.

    A label is likely wrong if the predicted class is at least as probable as it is on average for its own images.

    Source: C. Northcutt, L. Jiang, I. Chuang, Confident Learning, 2021.
    """
    doubtful = table[table["suggested"] != table["label"]]
    own = doubtful["suggested"].map(table.groupby("label")["probability"].mean())
    likely = doubtful["suggested_probability"] >= own.astype(float)
    return doubtful[likely], doubtful[~likely]


def _doubtful(row: dict[Hashable, Any], folder: Path) -> Thumbnail:
    probabilities = f"label {row['probability']:.1%}, suggested {row['suggested_probability']:.1%}"
    heading = f"{row['label']} → {row['suggested']}?"
    return Thumbnail(folder, row["path"], heading, (probabilities, f"{row['split']}: {row['path']}"))
