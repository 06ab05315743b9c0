"""The page of duplicates: groups of files that show the same image, the doubtful ones first."""

from pathlib import Path

import pandas as pd

from pipeline.visuals.thumbnails import Group, Thumbnail, write_thumbnails

_MAX_GROUPS, _MAX_MEMBERS = 100, 8


def write_duplicates(duplicates: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the page: groups with several labels first, then those across original splits, then by distance.

    Args:
        duplicates: duplicates.csv of stage prepare.
        folder: where its paths start.
        file: HTML to write.
    """
    by_group = duplicates.groupby("group")
    order = pd.DataFrame(
        {
            "labels": by_group["label"].nunique(),
            "splits": by_group["given"].nunique(),
            "distance": by_group["distance"].first(),
        }
    ).sort_values(["labels", "splits", "distance"], ascending=False, kind="stable")
    groups = [_group(number, by_group.get_group(number), folder) for number in order.index[:_MAX_GROUPS]]
    if len(order):
        several, across = (int((order[column] > 1).sum()) for column in ("labels", "splits"))
        introduction = (
            f"Groups of files that show the same image: {len(order)}, with {len(duplicates)} files. "
            f"Under several labels: {several}; in several original splits: {across}. "
            "These come first, then those whose images resemble each other least."
            + f" The first {_MAX_GROUPS} are shown; duplicates.csv names all."
            * (len(order) > _MAX_GROUPS)
        )
    else:
        introduction = "No two files show the same image."
    write_thumbnails(file, "Duplicates", introduction, groups)


def _group(number: int, members: pd.DataFrame, folder: Path) -> Group:
    first = members.iloc[0]
    title = f"Group {number}: {len(members)} files, {first['ties']}"
    if first["ties"] != "exact":
        title += f", up to {first['distance']:.0f} of 256 bits differ"
    title += ", several labels" * (members["label"].nunique() > 1)
    title += ", across splits" * (members["given"].nunique() > 1)
    if len(members) > _MAX_MEMBERS:
        title += f" (the first {_MAX_MEMBERS} are shown)"
    shown = members.head(_MAX_MEMBERS)
    cards = [
        Thumbnail(folder / path, label, (path,)) for path, label in zip(shown["path"], shown["label"], strict=True)
    ]
    return Group(title, cards)
