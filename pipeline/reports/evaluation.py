"""Outputs of stage evaluate, read for charts and reports."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.inputs.manifest import Manifest, images_digest
from pipeline.storage.files import Json, read_json
from pipeline.visuals.pages import overlay

# Columns that contain text.
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
    "neighbour",
    "phase",
)


@dataclass(frozen=True)
class Evaluation:
    """Outputs of stage evaluate and the settings of the experiment."""

    experiment: Json
    """Settings by section."""
    classes: list[str]
    metrics: Json
    """Content of metrics.json."""
    unfreeze: int | str
    """Unfreeze depth at which fine-tuning ended."""
    confusion: np.ndarray
    """Confusion matrix of the better phase, int [classes, classes]; rows are the true classes."""
    per_class: pd.DataFrame
    """Rows of per_class.csv for the better phase."""
    reliability: pd.DataFrame
    curves: pd.DataFrame
    corruptions: pd.DataFrame
    gallery: pd.DataFrame
    """Content of gallery.csv, with the additional columns image and overlay, uint8 [h, w, 3] each.

    An overlay is the image blended with the Grad-CAM heat map of the predicted class.
    """
    neighbours: pd.DataFrame
    """Content of neighbours.csv: the training images that are most similar to those in the gallery."""
    cells: tuple[int, int]
    """Rows and columns of the feature maps that heat maps are computed from."""
    mapped: pd.DataFrame
    """Test images on the map: path, label and prediction."""
    vectors: np.ndarray
    """Their vectors, float32 [n, d]."""
    digests: dict[str, str]
    """sha256 of the images and labels, for training (with validation) and test."""
    differences: Json
    """Settings that differ from the defaults, by key."""

    @classmethod
    def read(cls, inputs: Path, manifest: Manifest, experiment: Json, differences: Json) -> "Evaluation":
        """Read the outputs of stages.

        Args:
            inputs: Folder of the stages' folders.
            manifest: Manifest of the prepared data set.
            experiment: Settings by section.
            differences: Settings that differ from the defaults, by key.
        """
        classes = manifest.classes
        folder = inputs / "evaluate"
        metrics = read_json(folder / "metrics.json")
        tables = {name: read_table(folder / f"{name}.csv") for name in ("per_class", "confusion", "reliability")}
        mapped, vectors = _vectors(folder, manifest)
        best = {name: tables[name][tables[name]["phase"] == metrics["best"]] for name in ("per_class", "confusion")}
        return cls(
            experiment=experiment,
            classes=classes,
            metrics=metrics,
            unfreeze=read_json(inputs / "finetune" / "metrics.json")["unfreeze"],
            confusion=_matrix(best["confusion"], classes),
            per_class=best["per_class"],
            reliability=tables["reliability"],
            curves=read_table(folder / "curves.csv"),
            corruptions=read_table(folder / "corruptions.csv"),
            gallery=_gallery(folder),
            neighbours=read_table(folder / "neighbours.csv"),
            cells=_cells(folder),
            mapped=mapped,
            vectors=vectors,
            digests={
                "training": images_digest(manifest.split("train", "validation")),
                "test": images_digest(manifest.split("test")),
            },
            differences=differences,
        )

    @property
    def best(self) -> str:
        """Name of the phase with the better result on the validation images."""
        return self.metrics["best"]

    @property
    def best_metrics(self) -> Json:
        """Test metrics of the better phase."""
        return self.metrics[self.best]

    def of_kind(self, kind: str) -> pd.DataFrame:
        """Return the rows of the gallery of one kind: mistakes or hits."""
        return self.gallery[self.gallery["kind"] == kind]


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV file written by a stage, without parsing text columns: a class may be called 1, NA or null."""
    missing = {name: [""] for name in pd.read_csv(file, nrows=0).columns if name not in _TEXTS}
    return pd.read_csv(file, dtype=dict.fromkeys(_TEXTS, str), keep_default_na=False, na_values=missing)


def _matrix(table: pd.DataFrame, classes: list[str]) -> np.ndarray:
    counts = table.pivot(index="true", columns="predicted", values="count")
    return counts.reindex(index=classes, columns=classes).fillna(0).to_numpy(np.int64)


def _gallery(folder: Path) -> pd.DataFrame:
    with np.load(folder / "gallery.npz") as arrays:
        images, heatmaps = arrays["images"], arrays["heatmaps"].astype(np.float32) / 255
    overlays = pd.Series([overlay(*pair) for pair in zip(images, heatmaps, strict=True)], dtype=object)
    return read_table(folder / "gallery.csv").assign(image=list(images), overlay=overlays)


def _cells(folder: Path) -> tuple[int, int]:
    with np.load(folder / "gallery.npz") as arrays:
        rows, columns = arrays["cells"].tolist()
    return rows, columns


def _vectors(folder: Path, manifest: Manifest) -> tuple[pd.DataFrame, np.ndarray]:
    with np.load(folder / "vectors.npz") as arrays:
        indices, predicted, vectors = arrays["indices"], arrays["predicted"], arrays["vectors"]
    rows = manifest.split("test").iloc[indices]
    return rows[["path", "label"]].assign(prediction=np.asarray(manifest.classes, object)[predicted]), vectors
