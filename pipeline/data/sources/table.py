"""Images in a table: a CSV file with one row per image."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import ColumnsConfig
from pipeline.data.listing import SPLIT_ALIASES, LabelledImage, Listing, check_classes
from pipeline.system.errors import PipelineError


def list_table(file: Path, columns: ColumnsConfig, groups: str | None) -> Listing:
    """List the images of a table, sorted by path.

    Args:
        file: the CSV file.
        columns: names of its columns. The file may lack the split column.
        groups: name of the column with groups, or None.

    Raises:
        PipelineError: columns or values are missing, a path occurs twice, or the classes can't be used.
    """
    images, problems = [], []
    for number, row in _rows(file, [columns.path, columns.label, *filter(None, [groups])]):
        path, label = row[columns.path] or "", row[columns.label] or ""
        split_name = row.get(columns.split) or None if columns.split else None
        split = SPLIT_ALIASES.get(split_name.lower()) if split_name else None
        if not path or not label:
            problems.append(f"row {number} has no {columns.label if path else columns.path}")
        elif split_name and split is None:
            problems.append(f"row {number} has the split {split_name!r}; allowed are {', '.join(SPLIT_ALIASES)}")
        elif groups and not row[groups]:
            problems.append(f"row {number} has no {groups}")
        images.append(LabelledImage(path, label, split, row[groups] if groups else None))
    if not images:
        problems.append("the file has no rows")
    problems += [
        f"{path!r} occurs in {count} rows" for path, count in Counter(p.path for p in images).items() if count > 1
    ]
    without = [image.path for image in images if image.split is None]
    if 0 < len(without) < len(images):
        problems.append(f"{len(without)} rows have no {columns.split}, first {without[0]!r}; fill in all or none")
    training = {image.label for image in images if image.split in (None, "train")}
    extra = sorted({image.label for image in images} - training)
    if extra and not problems:
        problems.append(f"classes that no training row has: {', '.join(map(repr, extra))}")
    if problems:
        more = f"\n  and {len(problems) - 10} more" * (len(problems) > 10)
        raise PipelineError(f"{file} can't be used:\n" + "\n".join(f"  - {each}" for each in problems[:10]) + more)
    check_classes(str(file), sorted(training), "row")
    return Listing(sorted(images), sorted(training), {})


def table_paths(file: Path, columns: ColumnsConfig) -> list[str]:
    """Return the paths in a table, sorted."""
    return sorted(row[columns.path] for _, row in _rows(file, [columns.path]) if row[columns.path])


def _rows(file: Path, needed: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with its number in a spreadsheet, where the header is row 1."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise PipelineError(
                    f"{file} has no column {', '.join(map(repr, missing))}; it has {', '.join(reader.fieldnames or ()) or 'none'}: "
                    "set the names in dataset.columns and dataset.groups"
                )
            yield from enumerate(reader, start=2)
    except (UnicodeDecodeError, csv.Error) as error:
        raise PipelineError(f"{file} is not a CSV file in UTF-8: {error}") from error
