"""The page of doubtful labels."""

from pathlib import Path

import pandas as pd

from pipeline.visuals.thumbnails import Group, Thumbnail, write_thumbnails

_SHOWN = 120


def write_label_issues(table: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the page.

    Args:
        table: label_issues.csv; without rows labels were not checked.
        folder: that the paths start from.
        file: HTML to write.
    """
    if table.empty:
        reason = "Labels were not checked: train.label_issues is off, the backbone is not pretrained, or its features are too large to be cached."
        write_thumbnails(file, "Doubtful labels", reason, [])
        return
    doubted = table[table["suggested"] != table["label"]]
    cards = [
        Thumbnail(
            folder / row.path,
            f"{row.label} → {row.suggested}?",
            (f"label {row.probability:.1%}, suggested {row.suggested_probability:.1%}", f"{row.split}: {row.path}"),
        )
        for row in doubted.head(_SHOWN).itertuples()
    ]
    introduction = (
        f"{len(doubted)} of {len(table)} training and validation images look more like another class to a model that has not seen them; the most doubtful first"
        f"{f', {_SHOWN} of them' if len(doubted) > _SHOWN else ''}. label_issues.csv names all. A hard image is doubtful too: a person decides."
    )
    write_thumbnails(file, "Doubtful labels", introduction, [Group("", cards)] if cards else [])
