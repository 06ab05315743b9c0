"""The page of doubtful labels."""

from pathlib import Path

import pandas as pd

from pipeline.visuals.thumbnails import Group, Thumbnail, write_thumbnails

_MAX_IMAGES = 120


def write_label_issues(table: pd.DataFrame, folder: Path, file: Path) -> None:
    """Write the page.

    Args:
        table: label_issues.csv of stage train; it has no rows where labels were not checked.
        folder: where its paths start.
        file: HTML to write.
    """
    if table.empty:
        reason = (
            "Labels were not checked: train.label_issues is off, the backbone is not pretrained, "
            "or its features are too large to be cached."
        )
        write_thumbnails(file, "Doubtful labels", reason, [])
        return
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
        f"{len(doubtful)} of {len(table)} training and validation images look more like another class to a model that was "
        f"not trained on them; the most doubtful ones first{limit}. label_issues.csv names all. "
        "Hard images are among them: check each before you correct its label."
    )
    write_thumbnails(file, "Doubtful labels", introduction, [Group("", cards)] if cards else [])
