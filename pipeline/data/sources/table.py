"""Images in a table: a CSV file with a row an image."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import ColumnsConfig
from pipeline.data.listing import SPLITS, LabelledImage, Listing, refuse_classes
from pipeline.system.errors import PipelineError


def list_table(file: Path, columns: ColumnsConfig, groups: str | None) -> Listing:
    """The images of a table, sorted by path; splits where its split column is there, groups where `groups` names a column.

    Raises:
        PipelineError: columns or values are missing, a path stands there twice, or the classes are no classes.
    """
    images, wrong = [], []
    for number, row in _rows(file, [columns.path, columns.label, *filter(None, [groups])]):
        path, label = row[columns.path] or "", row[columns.label] or ""
        given = row.get(columns.split) or None if columns.split else None
        split = SPLITS.get(given.lower()) if given else None
        if not path or not label:
            wrong.append(f"row {number} has no {columns.label if path else columns.path}")
        elif given and split is None:
            wrong.append(f"row {number} has the split {given!r}; allowed are {', '.join(SPLITS)}")
        elif groups and not row[groups]:
            wrong.append(f"row {number} has no {groups}")
        images.append(LabelledImage(path, label, split, row[groups] if groups else None))
    if not images:
        wrong.append("it has no rows")
    wrong += [
        f"{path!r} stands in {count} rows" for path, count in Counter(p.path for p in images).items() if count > 1
    ]
    without = [image.path for image in images if image.split is None]
    if 0 < len(without) < len(images):
        wrong.append(f"{len(without)} rows have no {columns.split}, first {without[0]!r}; give one to all or to none")
    training = {image.label for image in images if image.split in (None, "train")}
    extra = sorted({image.label for image in images} - training)
    if extra and not wrong:
        wrong.append(f"classes that no training row has: {', '.join(map(repr, extra))}")
    if wrong:
        more = f"\n  and {len(wrong) - 10} more" * (len(wrong) > 10)
        raise PipelineError(f"{file} can't be used:\n" + "\n".join(f"  - {each}" for each in wrong[:10]) + more)
    refuse_classes(str(file), sorted(training), "row")
    return Listing(sorted(images), sorted(training), {})


def table_paths(file: Path, columns: ColumnsConfig) -> list[str]:
    """The paths that a table names, sorted."""
    return sorted(row[columns.path] for _, row in _rows(file, [columns.path]) if row[columns.path])


def _rows(file: Path, needed: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its number in a spreadsheet, the header being 1."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise PipelineError(
                    f"{file} has no column {', '.join(map(repr, missing))}; it has {', '.join(reader.fieldnames or ()) or 'none'}: "
                    "name them in dataset.columns and dataset.groups"
                )
            yield from enumerate(reader, start=2)
    except (UnicodeDecodeError, csv.Error) as error:
        raise PipelineError(f"{file} is no CSV file in UTF-8: {error}") from error
