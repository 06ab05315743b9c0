"""Listing of a data set's images with their labels, from a CSV file with one row per image."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import ColumnsConfig
from pipeline.data.class_names import canonical, check_class_names, spellings
from pipeline.data.listing import LabelledImage, Listing
from pipeline.data.split_names import split_of
from pipeline.data.table_paths import find_files
from pipeline.system.errors import PipelineError
from pipeline.system.wording import short, some

_DELIMITERS = ",;\t|"
_MOST_PROBLEMS = 10


@dataclass(frozen=True)
class _Row:
    number: int
    path: str
    label: str
    spelled: str
    split: str | None
    group: str | None


def list_table(file: Path, columns: ColumnsConfig, groups: str | None, pattern: str | None = None) -> Listing:
    """List the images of a CSV file, sorted by path.

    Args:
        file: CSV file with one row per image.
        columns: Names of its columns; the split column is optional.
        groups: Name of the column with groups, or None.
        pattern: Setting `dataset.images`: path of an image with a star for the id in the column; None for paths.

    Raises:
        PipelineError: Columns or values are missing, a path occurs twice, or the classes can't be used.
    """
    problems: list[str] = []
    rows = [
        _row(number, values, columns, groups, problems)
        for number, values in _values(file, [columns.path, columns.label, *filter(None, [groups])], columns.split)
    ]
    if not rows:
        problems.append("the file has no rows")
    _check_splits(rows, columns, problems)
    paths, absent = find_files(file, columns.path, [row.path for row in rows], pattern)
    counts = Counter(path for path, row in zip(paths, rows, strict=True) if row.path.strip())
    problems += [f"{short(path)} occurs in {count} rows" for path, count in counts.items() if count > 1]
    if problems:
        more = f"\n  and {len(problems) - _MOST_PROBLEMS} more" * (len(problems) > _MOST_PROBLEMS)
        listed = "\n".join(f"  - {each}" for each in problems[:_MOST_PROBLEMS])
        raise PipelineError(f"{file} can't be used:\n{listed}{more}")
    check_class_names(str(file), {row.label: f"row {row.number}" for row in reversed(rows)}, "row")
    images = [LabelledImage(path, row.label, row.split, row.group) for path, row in zip(paths, rows, strict=True)]
    remarks = spellings(row.spelled for row in rows)
    return Listing(sorted(images), sorted({row.label for row in rows}), {}, remarks, absent)


def _row(
    number: int, values: dict[str | None, str], columns: ColumnsConfig, groups: str | None, problems: list[str]
) -> _Row:
    """Return a row, and add what is wrong with it to `problems`."""
    path, spelled = values[columns.path] or "", values[columns.label] or ""
    split_name = (values.get(columns.split) or "").strip() if columns.split else ""
    row = _Row(
        number, path, canonical(spelled), spelled, split_of(split_name) if split_name else None,
        values[groups] if groups else None,
    )  # fmt: skip
    if any(filter(None, values.get(None, ()))):
        problems.append(f"row {number} has more values than columns; put values with commas in quotes")
    elif not path.strip() or not row.label:
        problems.append(f"row {number} has no {columns.label if path.strip() else columns.path}")
    elif "\0" in path:
        problems.append(f"row {number} has a null character in {columns.path}")
    elif split_name and row.split is None:
        allowed = "allowed splits are train, validation, test and their usual names"
        problems.append(f"row {number} has the split {short(split_name)}; {allowed}")
    elif groups and not row.group:
        problems.append(f"row {number} has no {groups}")
    return row


def _check_splits(rows: Sequence[_Row], columns: ColumnsConfig, problems: list[str]) -> None:
    without = [row for row in rows if row.split is None]
    if 0 < len(without) < len(rows) and not problems:
        problems.append(
            f"{len(without)} rows have no {columns.split}, such as {short(without[0].path)}; fill in this column in all rows or in none"
        )
    training = {row.label for row in rows if row.split in (None, "train")}
    extra = sorted({row.label for row in rows} - training)
    if extra and not problems:
        problems.append(f"no training row has these classes: {some(map(short, extra))}")


def _values(file: Path, needed: Sequence[str], optional: str | None) -> Iterator[tuple[int, dict]]:
    """Yield each row of a CSV file with the number of its last line; the header is row 1.

    The separator is that of the first line: a comma, semicolon, tab or bar.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            header = opened.readline()
            opened.seek(0)
            by_columns = [each for each in _DELIMITERS if {*needed} <= {*_names(header, each)}]
            delimiter = by_columns[0] if by_columns else ","
            reader = csv.DictReader(opened, delimiter=delimiter)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            _check_columns(file, reader.fieldnames, needed, optional)
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise PipelineError(f"{file} is not a CSV file in UTF-8: {error}; save it as such") from error


def _names(header: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]


def _check_columns(file: Path, names: Sequence[str], needed: Sequence[str], optional: str | None) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        raise PipelineError(
            f"{file} has no column {some(map(repr, missing))}; its columns are {some(names, 20) or 'none'}. "
            "Set the names in dataset.columns and dataset.groups"
        )
    twice = [name for name in dict.fromkeys([*needed, *filter(None, [optional])]) if names.count(name) > 1]
    if twice:
        raise PipelineError(
            f"{file} has {names.count(twice[0])} columns with the name {twice[0]!r}; rename all but one of them"
        )
