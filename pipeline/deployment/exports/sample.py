"""The images that an export is made and checked with: those of the classifier's own experiment, or of a folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from pipeline.config import Config, DatasetConfig, ExportConfig
from pipeline.data.sources import image_folder, list_images
from pipeline.deployment.find_model import ModelReference
from pipeline.deployment.prediction.predictions import expand_paths
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError

MIN_IMAGES = 64
_SEED = 0
_Labelled = list[tuple[str, str]]
"""Pairs of path and label."""


@dataclass(frozen=True)
class Sample:
    """Files, drawn with a fixed seed."""

    files: list[Path]
    """On which classifier and exports are compared."""
    labels: np.ndarray
    """Class index of each of them, int [n]; -1 where it is not known."""
    representative: list[Path]
    """From which a converter to int8 takes ranges of values."""


def run_of(reference: ModelReference) -> str | None:
    """The MLflow run that a classifier belongs to; None where no run is known.

    Of a folder of stages it is the run that the last stage computed; older folders have no stage report.
    """
    if reference.root is None:
        return reference.run_id
    files = [reference.root / stage / "run.json" for stage in ("report", "evaluate")]
    return next((read_json(file)["run_id"] for file in files if file.exists()), None)


def experiment_sample(reference: ModelReference, classes: list[str], config: Config) -> Sample:
    """Draw images of the classifier's experiment: test images to compare on, other ones as representative.

    Raises:
        PipelineError: its run is not known, or is gone.
    """
    from pipeline.tracking.store import run_artifact

    run_id = run_of(reference)
    settings = run_artifact(config.tracking, run_id, "config.yaml") if run_id else None
    predictions = run_artifact(config.tracking, run_id, "evaluate/predictions.parquet") if run_id else None
    if settings is None or predictions is None:
        raise PipelineError(
            f"{reference.origin}: its experiment's images are not known; "
            f"name a folder of at least {MIN_IMAGES} images to compare exports on, --images DIR"
        )
    section = OmegaConf.merge(OmegaConf.structured(DatasetConfig), OmegaConf.load(settings).dataset)
    dataset = OmegaConf.to_object(section)
    tested = pd.read_parquet(predictions, columns=["path", "label"])
    labels = dict(zip(tested["path"], tested["label"], strict=True))
    others = [(image.path, image.label) for image in list_images(dataset).images if image.path not in labels]
    first, second = _shuffled(list(labels.items())), _shuffled(others)
    # A small test set does not make a small comparison.
    few = len(first) < MIN_IMAGES
    compared = (first + second)[: max(config.export.images, MIN_IMAGES)] if few else first[: config.export.images]
    used = set(compared)
    left = [pair for pair in second if pair not in used] or second
    return _sample(image_folder(dataset), compared, left[: config.export.int8_images], classes)


def folder_sample(folder: Path, classes: list[str], export: ExportConfig) -> Sample:
    """Draw images below `folder`; where their own folder has a class's name, that is their label."""
    files = [path for path in expand_paths([str(folder)]) if Path(path).is_file()]
    images = _shuffled([(path, Path(path).parent.name) for path in files])
    compared, left = images[: export.images], images[export.images :]
    if len(left) < export.int8_images:
        # Better to use images twice than to take ranges from a handful.
        left = left + compared
    return _sample(Path(), compared, left[: export.int8_images], classes)


def _shuffled(images: _Labelled) -> _Labelled:
    order = np.random.default_rng(_SEED).permutation(len(images))
    images = sorted(images)
    return [images[place] for place in order]


def _sample(folder: Path, compared: _Labelled, representative: _Labelled, classes: list[str]) -> Sample:
    if len(compared) < MIN_IMAGES:
        raise PipelineError(
            f"{len(compared)} images to compare exports on are too few; name a folder of at least {MIN_IMAGES}, --images DIR"
        )
    labels = pd.Categorical([label for _, label in compared], categories=classes).codes.astype(np.int64)
    return Sample([folder / path for path, _ in compared], labels, [folder / path for path, _ in representative])
