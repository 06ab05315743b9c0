"""Compare the results of two folders of finished jobs bit by bit: `python -m benchmarks.same_results BEFORE AFTER`.

Use it to check that a change of the code changes no results. Run the same jobs before and after the change, each in a
separate folder (`hydra.run.dir=BEFORE/<name>`).

It compares all numbers of prepare, train, finetune and evaluate: JSON files, tables, arrays, and weights by their path
in a model file. Times, ids, charts and pages are ignored. Files may have moved to the folder of another stage. Files,
keys and columns that are only in AFTER are listed, but are no differences.
"""

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

STAGES = ("prepare", "train", "finetune", "evaluate")
# Files with ids and times, which differ between runs.
_LEFT_OUT = ("run.json", "speed.json")
_SHOWN = 10


@dataclass
class Comparison:
    """Result of comparing two folders of the same job."""

    values: int = 0
    """Number of compared values, columns and arrays."""
    differences: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    """Files, keys and columns that are only in the second folder."""

    def add(self, name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Compare the contents of one file, given as dictionaries of values."""
        for key, value in before.items():
            if key not in after:
                self.differences.append(f"{name}: {key} is missing")
            elif problem := _difference(value, after[key]):
                self.differences.append(f"{name}: {key}: {problem}")
            self.values += key in after
        self.new += [f"{name}: {key}" for key in after if key not in before]


def compare_jobs(before: Path, after: Path) -> Comparison:
    """Compare all results of the stages of two jobs."""
    result = Comparison()
    files, others = _files(before), _files(after)
    for name, file in files.items():
        place = name if name in others else _moved(name, others.keys() - files.keys())
        if place is None:
            result.differences.append(f"{name} is missing")
        else:
            read = _READERS[file.suffix]
            result.add(name, read(file), read(others.pop(place)))
    result.new += others
    return result


def jobs(folder: Path) -> dict[str, Path]:
    """Return the folders of finished jobs by name; a single one if `folder` itself is that of a job."""
    if (folder / STAGES[-1]).is_dir():
        return {"the job": folder}
    return {each.name: each for each in sorted(folder.iterdir()) if (each / STAGES[-1] / "run.json").exists()}


def _files(job: Path) -> dict[str, Path]:
    found = (file for stage in STAGES for file in sorted((job / stage).rglob("*")))
    return {
        file.relative_to(job).as_posix(): file
        for file in found
        if file.suffix in _READERS and file.name not in _LEFT_OUT
    }


def _moved(name: str, others: Iterable[str]) -> str | None:
    """Return the only path in `others` with the same file name, or None."""
    same = [other for other in others if Path(other).name == Path(name).name]
    return same[0] if len(same) == 1 else None


def _difference(before: Any, after: Any) -> str | None:
    """Return a description of the difference between two values; None if all bits are equal."""
    if not isinstance(before, np.ndarray):
        # NaN is not equal to itself.
        same = before == after or (before != before and after != after)
        return None if same else f"{before!r} became {after!r}"
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"{before.dtype} {list(before.shape)} became {after.dtype} {list(after.shape)}"
    bits = before.dtype if before.dtype.kind == "O" else f"V{before.itemsize}"
    differs = np.atleast_1d(before).view(bits) != np.atleast_1d(after).view(bits)
    if not differs.any():
        return None
    one, other = np.atleast_1d(before)[differs], np.atleast_1d(after)[differs]
    return f"{len(one)} of {before.size} values differ; the first was {one[0]} and is {other[0]}"


def _read_json(file: Path) -> dict[str, Any]:
    return _leaves(json.loads(file.read_text(encoding="utf-8")))


def _leaves(content: Any, name: str = "") -> dict[str, Any]:
    """Return the single values of a JSON document, and the lengths of its lists, by their paths."""
    if isinstance(content, list):
        content = {"length": len(content), **{str(place): each for place, each in enumerate(content)}}
    if not isinstance(content, dict):
        return {name: content}
    return {key: value for part, below in content.items() for key, value in _leaves(below, f"{name}/{part}").items()}


def _read_csv(file: Path) -> dict[str, Any]:
    # Numbers are compared as text, since equal numbers are written in the same way.
    return _columns(pd.read_csv(file, dtype=str, keep_default_na=False))


def _read_parquet(file: Path) -> dict[str, Any]:
    return _columns(pd.read_parquet(file))


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    return {"rows": len(table)} | {str(name): _array(table[name]) for name in table}


def _array(column: pd.Series) -> np.ndarray:
    values = column.to_numpy()
    if len(values) and isinstance(values[0], np.ndarray):
        return np.stack(list(values))
    return values if values.dtype.kind in "biuf" else column.astype(object).where(column.notna(), "").to_numpy()


def _read_npz(file: Path) -> dict[str, Any]:
    with np.load(file) as arrays:
        return dict(arrays)


def _read_weights(file: Path) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as content:
        content.visititems(
            lambda path, each: weights.update({path: each[()]}) if isinstance(each, h5py.Dataset) else None
        )
    return weights


_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".npz": _read_npz,
    ".keras": _read_weights,
}


def main() -> None:
    """Print a table with one row per job, then the first differences of each job."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_results", description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="folder with one folder per job, or folder of one job")
    parser.add_argument("after", type=Path, help="the same jobs, run after the change")
    args = parser.parse_args()
    before, after = jobs(args.before), jobs(args.after)
    if not before:
        sys.exit(f"{args.before} contains no finished job; give the folder of a job, or one with folders of jobs")
    missing = [name for name in before if name not in after]
    results = {name: compare_jobs(folder, after[name]) for name, folder in before.items() if name in after}
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("job", "values", "differences", "new")
    for name in before:
        result = results.get(name)
        cells = (result.values, len(result.differences), len(result.new)) if result else ("", "not in AFTER", "")
        table.add_row(name, *map(str, cells))
    console.print(table)
    for name, result in results.items():
        for difference in result.differences[:_SHOWN]:
            print(f"{name}: {difference}")
        if len(result.differences) > _SHOWN:
            print(f"{name}: and {len(result.differences) - _SHOWN} more")
    if new := sorted({each for result in results.values() for each in result.new}):
        print("Only in AFTER:", *new, sep="\n  ")
    differing = sum(bool(result.differences) for result in results.values())
    print(
        f"{len(results) - differing} of {len(before)} jobs are the same, {differing} differ, {len(missing)} not in AFTER"
    )
    sys.exit(bool(missing or differing))


if __name__ == "__main__":
    main()
