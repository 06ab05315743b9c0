"""The manifest, a set of files that stage prepare writes and later stages read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config.image import FULL_DEPTH
from pipeline.storage.files import read_json

MANIFEST = "manifest.parquet"
CLASSES = "classes.json"


@dataclass(frozen=True)
class Manifest:
    """Prepared data set."""

    rows: pd.DataFrame
    """Table with one row per image, sorted by path."""
    classes: list[str]
    """Class names, in the order of the classifier's outputs."""

    @property
    def depth(self) -> int:
        """Bits from which the samples of 16-bit files are scaled to 8 bits."""
        return sample_depth(self.rows)

    def split(self, *names: str) -> pd.DataFrame:
        """Return the rows of the named splits (train, validation or test), in the manifest's order."""
        return self.rows[self.rows["split"].isin(names)].reset_index(drop=True)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in a folder that stage prepare wrote."""
    return Manifest(pd.read_parquet(folder / MANIFEST), read_json(folder / CLASSES))


def class_indices(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Return the label of each row as an index into `classes`, int64 [n]."""
    return pd.Categorical(rows["label"], categories=pd.Index(classes)).codes.astype(np.int64)


def sample_depth(rows: pd.DataFrame) -> int:
    """Return the bits from which the samples of 16-bit files are scaled; 16 if a manifest has no such files."""
    depths = rows["depth"].dropna() if "depth" in rows else ()
    return int(max(depths)) if len(depths) else FULL_DEPTH


def images_digest(rows: pd.DataFrame) -> str:
    """Return a sha256 of the images' contents and labels, which identifies a test set regardless of paths and order."""
    return hashlib.sha256("\n".join(sorted(rows["sha256"] + " " + rows["label"])).encode()).hexdigest()


APPEARANCE = ("brightness", "contrast", "saturation", "megapixels", "aspect_ratio")
"""Names of the appearance measures that are compared between splits."""


def appearance(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the measures in `APPEARANCE` for each image; the aspect ratio is width divided by height."""
    width, height = manifest["width"].astype(float), manifest["height"].astype(float)
    own = {"megapixels": width * height / 1e6, "aspect_ratio": width / height}
    return manifest[["brightness", "contrast", "saturation"]].assign(**own)
