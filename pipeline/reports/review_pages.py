"""HTML pages for manual review: duplicate images and images with doubtful labels."""

from pathlib import Path

import pandas as pd

from pipeline.visuals.pages import Thumbnail, write_thumbnails

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
    groups = dict(_group(number, by_group.get_group(number), folder) for number in order.index[:_MAX_GROUPS])
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


def _group(number: int, members: pd.DataFrame, folder: Path) -> tuple[str, list[Thumbnail]]:
    """Return the title of a group and thumbnails of its first files."""
    first = members.iloc[0]
    title = f"Group {number}: {len(members)} files, {first['ties']}"
    if first["ties"] != "exact":
        title += f", up to {first['distance']:.0f} of 256 bits differ"
    title += ", several labels" * (members["label"].nunique() > 1)
    title += ", across splits" * (members["given"].nunique() > 1)
    if len(members) > _MAX_MEMBERS:
        title += f" (the first {_MAX_MEMBERS} are shown)"
    shown = members.head(_MAX_MEMBERS)[["path", "label"]].to_numpy()
    return title, [Thumbnail(folder / path, label, (path,)) for path, label in shown]


def write_label_issues(table: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the page of doubtful labels.

    Args:
        table: Content of label_issues.csv of stage train; empty if labels were not checked.
        folder: Base folder of its paths.
        file: Output HTML file.
    """
    doubtful = table[table["suggested"] != table["label"]]
    cards = [
        Thumbnail(
            folder / row["path"],
            f"{row['label']} → {row['suggested']}?",
            (
                f"label {row['probability']:.1%}, suggested {row['suggested_probability']:.1%}",
                f"{row['split']}: {row['path']}",
            ),
        )
        for row in doubtful.head(_MAX_IMAGES).to_dict("records")
    ]
    limit = f", limited to {_MAX_IMAGES}" if len(doubtful) > _MAX_IMAGES else ""
    introduction = (
        "Labels were not checked: train.label_issues is off, the backbone is not pretrained, "
        "or its features are too large to be cached."
        if table.empty
        else f"A cross-validated model prefers another class for {len(doubtful)} of {len(table)} training and validation images. "
        f"The most doubtful labels come first{limit}; label_issues.csv lists all. "
        "Images that are difficult to classify are included, so check each image before changing its label."
    )
    write_thumbnails(file, "Doubtful labels", introduction, {"": cards})
