"""prepare's files, as the later stages read them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.storage.files import read_json

MANIFEST = "manifest.parquet"
CLASSES = "classes.json"


@dataclass(frozen=True)
class Manifest:
    """The prepared data set."""

    rows: pd.DataFrame
    """One row an image, sorted by path."""
    classes: list[str]
    """In the order of the classifier's outputs."""

    def split(self, *names: str) -> pd.DataFrame:
        """The rows of some splits, of train, validation and test, in the manifest's order."""
        return self.rows[self.rows["split"].isin(names)].reset_index(drop=True)


def read_manifest(folder: Path) -> Manifest:
    """What prepare left in `folder`."""
    return Manifest(pd.read_parquet(folder / MANIFEST), read_json(folder / CLASSES))


def class_indices(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """The label of each row as an index into `classes`: int64 [n]."""
    return pd.Categorical(rows["label"], categories=classes).codes.astype(np.int64)


def images_digest(rows: pd.DataFrame) -> str:
    """sha256 over the images and labels of some rows, wherever they lie: what two experiments share that test on the same ones."""
    return hashlib.sha256("\n".join(sorted(rows["sha256"] + " " + rows["label"])).encode()).hexdigest()


APPEARANCE = ("brightness", "contrast", "saturation", "megapixels", "aspect_ratio")
"""What is compared between splits, beside classes."""


def appearance(manifest: pd.DataFrame) -> pd.DataFrame:
    """`APPEARANCE` of each image; megapixels, and width over height."""
    width, height = manifest["width"].astype(float), manifest["height"].astype(float)
    own = {"megapixels": width * height / 1e6, "aspect_ratio": width / height}
    return manifest[["brightness", "contrast", "saturation"]].assign(**own)
