"""The manifest: the files of stage prepare, as the later stages read them."""

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
    """One row per image, sorted by path."""
    classes: list[str]
    """Names, in the order of the classifier's outputs."""

    def split(self, *names: str) -> pd.DataFrame:
        """Return the rows of some of the splits train, validation and test, in the manifest's order."""
        return self.rows[self.rows["split"].isin(names)].reset_index(drop=True)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in a folder that stage prepare wrote."""
    return Manifest(pd.read_parquet(folder / MANIFEST), read_json(folder / CLASSES))


def class_indices(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Return the label of each row as an index into `classes`: int64 [n]."""
    return pd.Categorical(rows["label"], categories=pd.Index(classes)).codes.astype(np.int64)


def images_digest(rows: pd.DataFrame) -> str:
    """Return the sha256 of the contents and labels of images, whatever their paths and order: names a test set."""
    return hashlib.sha256("\n".join(sorted(rows["sha256"] + " " + rows["label"])).encode()).hexdigest()


APPEARANCE = ("brightness", "contrast", "saturation", "megapixels", "aspect_ratio")
"""Measures that are compared between splits, beside classes."""


def appearance(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return `APPEARANCE` of each image; the aspect ratio is width over height."""
    width, height = manifest["width"].astype(float), manifest["height"].astype(float)
    own = {"megapixels": width * height / 1e6, "aspect_ratio": width / height}
    return manifest[["brightness", "contrast", "saturation"]].assign(**own)
