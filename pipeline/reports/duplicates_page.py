"""The page of duplicates: groups of images that are the same, the doubtful ones first, side by side."""

from pathlib import Path

import pandas as pd

from pipeline.visuals.thumbnails import Group, Thumbnail, write_thumbnails

_GROUPS, _MEMBERS = 100, 8


def write_duplicates(duplicates: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the first groups of `duplicates` (`pipeline.data.curation.Curated`): those with several labels, then those across given splits, then by
    how little they resemble each other."""
    by_group = duplicates.groupby("group")
    order = pd.DataFrame(
        {
            "labels": by_group["label"].nunique(),
            "splits": by_group["given"].nunique(),
            "distance": by_group["distance"].first(),
        }
    ).sort_values(["labels", "splits", "distance"], ascending=False, kind="stable")
    shown = order.index[:_GROUPS]
    groups = [_group(number, by_group.get_group(number), folder) for number in shown]
    if len(order):
        several, across = (int((order[column] > 1).sum()) for column in ("labels", "splits"))
        introduction = (
            f"Groups of files that show the same image: {len(order)}, with {len(duplicates)} files. Under several labels: {several}; in several given "
            f"splits: {across}. These come first, then those whose images resemble each other least."
            + f" The first {_GROUPS} are shown; duplicates.csv names all."
            * (len(order) > _GROUPS)
        )
    else:
        introduction = "No two files show the same image."
    write_thumbnails(file, "Duplicates", introduction, groups)


def _group(number: int, members: pd.DataFrame, folder: Path) -> Group:
    first = members.iloc[0]
    title = f"Group {number}: {len(members)} files, {first['ties']}"
    if first["ties"] != "exact":
        title += f", up to {first['distance']:.0f} of 256 bits differ"
    title += ", several labels" * (members["label"].nunique() > 1) + ", across splits" * (
        members["given"].nunique() > 1
    )
    if len(members) > _MEMBERS:
        title += f" (the first {_MEMBERS} are shown)"
    cards = [
        Thumbnail(folder / member.path, member.label, (member.path,)) for member in members.head(_MEMBERS).itertuples()
    ]
    return Group(title, cards)
