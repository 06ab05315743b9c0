"""Reader of the tables that stages write."""

from pathlib import Path

import pandas as pd

# Columns that hold text.
_TEXTS = (
    "path",
    "label",
    "split",
    "given",
    "ties",
    "suggested",
    "prediction",
    "class",
    "true",
    "predicted",
    "kind",
    "phase",
)


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV file of a stage, with text as it is: a class may be called 1, NA or null."""
    columns = pd.read_csv(file, nrows=0).columns
    texts = {name: str for name in columns if name in _TEXTS}
    missing = {name: [""] for name in columns if name not in _TEXTS}
    return pd.read_csv(file, dtype=texts, keep_default_na=False, na_values=missing)
