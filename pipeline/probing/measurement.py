"""Accuracy and costs of one backbone on the training and validation images; test images are never read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from pipeline.config import Config
from pipeline.config.size import size_text
from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import Manifest, read_manifest
from pipeline.jobs.stage import places_of
from pipeline.models.classifier import BACKBONE, build_classifier
from pipeline.models.graph import count_macs
from pipeline.models.parts import FrozenPart, parts_for_feature_extraction
from pipeline.probing.probes import linear_probe, nearest_neighbours
from pipeline.stages.settings import Places
from pipeline.system.errors import PipelineError
from pipeline.training.cross_validation import make_folds, unit_ids
from pipeline.training.features import training_data
from pipeline.training.frozen_batches import frozen_batch_size
from pipeline.training.hardware import set_up

log = logging.getLogger(__name__)

_TIMED_BATCHES = 3


@dataclass(frozen=True)
class Measurement:
    """Accuracy of a backbone's features on each image, and the costs of the backbone."""

    config: Config
    hits: np.ndarray
    """Whether the linear probe predicts each image correctly, bool [n]."""
    neighbour_accuracy: float
    """Accuracy of the nearest neighbours."""
    features: int
    """Number of features of an image."""
    milliseconds: float
    """Time of the frozen backbone for one image, in batches."""
    weights_mib: float
    """Size of the weights in float32."""
    macs: int
    """Number of multiply-adds for one image."""

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        return self.config.backbone.name


def measure_all(configs: Sequence[Config], root: Path) -> list[Measurement]:
    """Measure each backbone; see `measure`.

    Args:
        configs: Configurations that differ in backbone and image size.
        root: Folder with the outputs of stage prepare.
    """
    manifest = read_manifest(root / "prepare")
    return [measure(config, manifest, places_of(config)) for config in configs]


def measure(config: Config, manifest: Manifest, places: Places) -> Measurement:
    """Compute a backbone's pooled features, or read those that phase 1 has cached, and probe them.

    Args:
        config: Configuration with the backbone and the image size.
        manifest: Manifest of the prepared data set.
        places: Folders of the images and the cache.

    Raises:
        PipelineError: The features don't fit the cache, or there are too few images.
    """
    strategy = set_up(config.hardware, config.seed)
    data = training_data(manifest, places.images, config, places.cache)
    folds = make_folds(data.labels, unit_ids(manifest.split("train", "validation")), config.seed)
    with strategy.scope():
        size, weights = config.image_size, places.weights
        model = build_classifier(config.backbone, config.train, size, len(data.classes), weights=weights)
    part = parts_for_feature_extraction(model, config.backbone, config.hardware.precision).frozen
    if not data.features.fits(part, len(data.images)):
        raise PipelineError(
            f"The features of {config.backbone.name} can't be cached: raise hardware.feature_cache_gib, free disk space, or "
            "set another cache_folder"
        )
    features = data.features.pooled(part)
    right = linear_probe(features, data.labels, folds, config.seed) == data.labels
    neighbours = nearest_neighbours(features, data.labels, folds, config.seed) == data.labels
    backbone = model.get_layer(BACKBONE)
    log.info("%s at %s: %.4f out of fold", config.backbone.name, size_text(size), right.mean())
    return Measurement(
        config,
        hits=right,
        neighbour_accuracy=float(neighbours.mean()),
        features=part.shape[0],
        milliseconds=_milliseconds(part, data.images, frozen_batch_size(config.hardware.frozen_batch_size)),
        weights_mib=4 * backbone.count_params() / 2**20,
        macs=count_macs(backbone),
    )


def _milliseconds(part: FrozenPart, images: DecodedImages, batch_size: int) -> float:
    batch = images.take(np.arange(min(batch_size, len(images))))
    # The first call compiles the function.
    part.from_pixels(batch).numpy()
    seconds = []
    for _ in range(_TIMED_BATCHES):
        started = perf_counter()
        part.from_pixels(batch).numpy()
        seconds.append(perf_counter() - started)
    return 1000 * min(seconds) / len(batch)
