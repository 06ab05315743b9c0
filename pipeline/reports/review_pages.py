"""Pages of images to be checked by people: groups of files that show the same image, and doubtful labels."""

from pathlib import Path

import pandas as pd

from pipeline.visuals.pages import Thumbnail, write_thumbnails

_MAX_GROUPS, _MAX_MEMBERS = 100, 8
_MAX_IMAGES = 120


def write_duplicates(duplicates: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the page of duplicates: several labels first, then groups across original splits, then by distance.

    Args:
        duplicates: duplicates.csv of stage prepare.
        folder: where its paths start.
        file: HTML to write.
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
            "These come first, then those whose images resemble each other least."
        )
        if len(order) > _MAX_GROUPS:
            introduction += f" The first {_MAX_GROUPS} are shown; duplicates.csv names all."
    else:
        introduction = "No two files show the same image."
    write_thumbnails(file, "Duplicates", introduction, groups)


def _group(number: int, members: pd.DataFrame, folder: Path) -> tuple[str, list[Thumbnail]]:
    """Title and first files of a group."""
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
        table: label_issues.csv of stage train; it has no rows where labels were not checked.
        folder: where its paths start.
        file: HTML to write.
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
    limit = f", {_MAX_IMAGES} of them" if len(doubtful) > _MAX_IMAGES else ""
    introduction = (
        "Labels were not checked: train.label_issues is off, the backbone is not pretrained, "
        "or its features are too large to be cached."
        if table.empty
        else f"{len(doubtful)} of {len(table)} training and validation images look more like another class to a model that was "
        f"not trained on them; the most doubtful ones first{limit}. label_issues.csv names all. "
        "Hard images are among them: check each before you correct its label."
    )
    write_thumbnails(file, "Doubtful labels", introduction, {"": cards})
