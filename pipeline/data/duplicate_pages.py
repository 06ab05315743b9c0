"""The page of duplicates: groups of pictures that are the same, the doubtful ones first, side by side."""

from pathlib import Path

import pandas as pd

from pipeline.data.pages import Card, Group, write_page

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
    doubtful = int((order["labels"] > 1).sum()), int((order["splits"] > 1).sum())
    limited = f" The first {_GROUPS} groups are shown; duplicates.csv names all." if len(order) > _GROUPS else ""
    introduction = (
        f"{len(duplicates)} files in {len(order)} groups show the same picture: {doubtful[0]} groups under several labels, {doubtful[1]} across given "
        f"splits, which come first, then those that resemble each other least.{limited}"
        if len(order)
        else "No two files show the same picture."
    )
    write_page(file, "Duplicates", introduction, groups)


def _group(number: int, members: pd.DataFrame, folder: Path) -> Group:
    first = members.iloc[0]
    alike = (
        first["ties"]
        if first["distance"] == 0
        else f"{first['ties']}, up to {first['distance']:.0f} of 256 bits differ"
    )
    title = f"Group {number}: {len(members)} files, {alike}"
    title += ", several labels" * (members["label"].nunique() > 1) + ", across splits" * (
        members["given"].nunique() > 1
    )
    if len(members) > _MEMBERS:
        title += f" (the first {_MEMBERS} are shown)"
    cards = [
        Card(folder / member.path, member.label, (member.given, member.path))
        for member in members.head(_MEMBERS).itertuples()
    ]
    return Group(title, cards)
