"""The images that an export is made and judged with: those of the classifier's own experiment, or of a folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import DatasetConfig, TrackingConfig
from pipeline.data.sources import image_folder, list_images
from pipeline.deployment.find_model import ModelReference
from pipeline.deployment.prediction.predictions import expand_paths
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError

LEAST = 64
_SEED = 0


@dataclass(frozen=True)
class Sample:
    """Files, drawn with a fixed seed."""

    compared: list[Path]
    """On which classifier and exports are compared."""
    labels: np.ndarray
    """Class index of each of them, int [n]; -1 where it is not known."""
    learned: list[Path]
    """From which ranges of numbers are taken."""


def run_of(found: ModelReference) -> str | None:
    """The MLflow run that a classifier belongs to."""
    state = found.root / "evaluate" / "run.json" if found.root else None
    return read_json(state)["run_id"] if state and state.exists() else found.run_id


def own_sample(
    found: ModelReference, classes: list[str], tracking: TrackingConfig, compared: int, learned: int
) -> Sample:
    """Test images of the experiment that the classifier comes from, to compare on; training and validation images, to learn from.

    Raises:
        PipelineError: nobody knows where they are.
    """
    from omegaconf import OmegaConf

    from pipeline.tracking import run_artifact

    run_id = run_of(found)
    files = [
        run_artifact(tracking, run_id, name) if run_id else None
        for name in ("config.yaml", "evaluate/predictions.parquet")
    ]
    if None in files:
        raise PipelineError(
            f"{found.origin}: its experiment can't be asked for images to compare exports on; name a folder of at least {LEAST}, --images DIR"
        )
    dataset = OmegaConf.to_object(
        OmegaConf.merge(OmegaConf.structured(DatasetConfig), OmegaConf.load(files[0]).dataset)
    )
    folder = image_folder(dataset)
    tested = pd.read_parquet(files[1], columns=["path", "label"])
    labels = dict(zip(tested["path"], tested["label"], strict=True))
    others = [(image.path, image.label) for image in list_images(dataset).images if image.path not in labels]
    first, then = _shuffled(list(labels.items())), _shuffled(others)
    # A small test set does not make a small comparison.
    chosen = (first + then)[: max(compared, LEAST)] if len(first) < LEAST else first[:compared]
    taken = set(chosen)
    left = [pair for pair in then if pair not in taken] or then
    return _sample(folder, chosen, left[:learned], classes)


def folder_sample(folder: Path, classes: list[str], compared: int, learned: int) -> Sample:
    """Images below `folder`; where their own folder has a class's name, that is their label."""
    found = _shuffled([(path, Path(path).parent.name) for path in expand_paths([str(folder)]) if Path(path).is_file()])
    chosen, left = found[:compared], found[compared:]
    if len(left) < learned:
        # Rather the same ones twice than ranges of a handful.
        left = (left + chosen)[:learned]
    return _sample(Path(), chosen, left[:learned], classes)


def _shuffled(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    order = np.random.default_rng(_SEED).permutation(len(pairs))
    pairs = sorted(pairs)
    return [pairs[place] for place in order]


def _sample(folder: Path, chosen: list[tuple[str, str]], learned: list[tuple[str, str]], classes: list[str]) -> Sample:
    if len(chosen) < LEAST:
        raise PipelineError(
            f"{len(chosen)} images to compare exports on are too few; name a folder of at least {LEAST}, --images DIR"
        )
    labels = pd.Categorical([label for _, label in chosen], categories=classes).codes.astype(np.int64)
    return Sample([folder / path for path, _ in chosen], labels, [folder / path for path, _ in learned])
