"""Tables as the stages leave them."""

from pathlib import Path

import pandas as pd

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
    """A CSV file of a stage, texts as they are: a class may be called 1, NA or null."""
    columns = pd.read_csv(file, nrows=0).columns
    texts = {name: str for name in columns if name in _TEXTS}
    missing = {name: [""] for name in columns if name not in _TEXTS}
    return pd.read_csv(file, dtype=texts, keep_default_na=False, na_values=missing)
