"""Data sets of a run as MLflow's inputs: training, validation and test images, with schema, profile and source."""

import json
from pathlib import Path

from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from pipeline.inputs.manifest import Manifest, images_digest

CONTEXTS = {"train": "training", "validation": "validation", "test": "test"}
"""Context in MLflow of each split."""

_DIGEST = 8
# Columns of the manifest that describe an image.
_SCHEMA = Schema([ColSpec("string", "path"), ColSpec("string", "label"), ColSpec("long", "width"), ColSpec("long", "height")])  # fmt: skip


def dataset_inputs(manifest: Manifest, name: str, place: Path) -> list[DatasetInput]:
    """Return the inputs of a run.

    Args:
        manifest: Manifest of all images.
        name: Name of the data set.
        place: Folder or table from which the images come.

    Returns:
        One input per split that has images. Its digest is of the images' contents and labels.
    """
    return [_input(manifest, split, name, place) for split in CONTEXTS if len(manifest.split(split))]


def _input(manifest: Manifest, split: str, name: str, place: Path) -> DatasetInput:
    rows, source = manifest.split(split), LocalArtifactDatasetSource(str(place))
    counts = rows["label"].value_counts()
    profile = {
        "num_rows": len(rows),
        "num_classes": len(counts),
        "median_width": float(rows["width"].median()),
        "median_height": float(rows["height"].median()),
        "images_per_class": {each: int(counts.get(each, 0)) for each in manifest.classes},
    }
    dataset = Dataset(
        name=name,
        digest=images_digest(rows)[:_DIGEST],
        source_type=source._get_source_type(),
        source=source.to_json(),
        schema=json.dumps({"mlflow_colspec": _SCHEMA.to_dict()}),
        profile=json.dumps(profile, ensure_ascii=False),
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, CONTEXTS[split])])
