"""The whole configuration: its sections about results and tools here, those about images and training beside it."""

from dataclasses import asdict, dataclass

from pipeline.config.dataset import AugmentConfig, DatasetConfig
from pipeline.config.dataset import ColumnsConfig as ColumnsConfig
from pipeline.config.dataset import CurationConfig as CurationConfig
from pipeline.config.dataset import DriftConfig as DriftConfig
from pipeline.config.dataset import NearDuplicatesConfig as NearDuplicatesConfig
from pipeline.config.limits import above, at_least, between, bounded, fraction, one_of
from pipeline.config.training import OPTIMIZERS as OPTIMIZERS
from pipeline.config.training import BackboneConfig, FinetuneConfig, HardwareConfig, TrainConfig
from pipeline.config.training import PhaseConfig as PhaseConfig
from pipeline.storage.files import Json


@dataclass(kw_only=True)
class EvaluateConfig:
    """Evaluation on the test images."""

    name: str
    """Name of the chosen file in `conf/evaluate/`."""
    batch_size: int = at_least(1)
    """Images per batch."""
    confidence: float = between(0, 1)
    """Confidence level of the intervals; 1 minus this is the significance level of the tests."""
    resamples: int = at_least(100)
    """Resamples of the stratified bootstrap, for intervals that have no formula."""
    top_k: int = at_least(2)
    """Number of guesses that count in top-k accuracy, where there are more classes than that."""
    calibration_bins: int = at_least(2)
    """Equally wide bins of the reliability diagram and of the expected calibration error (ECE)."""
    calibrate: bool
    """Divide logits by a temperature fitted on validation, in reported probabilities and in the logged model."""
    gallery: int = at_least(0)
    """Images in the gallery of most confident errors, and in that of least confident correct answers."""
    tta: str = one_of("none", "flip", "crops", "flip_crops")
    """Test-time augmentation: mean over the image and its mirror image (flip), over it and five crops (crops), or over
    these and their mirror images (flip_crops)."""
    corruptions: str = one_of("none", "all")
    """Robustness to corruptions. all: accuracy under eleven kinds of corruption at five severities each."""
    corruption_images: int | None = at_least(1)
    """Test images, drawn at random, on which robustness is measured. Null: all."""


@dataclass(kw_only=True)
class TrackingConfig:
    """MLflow tracking."""

    name: str
    """Name of the chosen file in `conf/tracking/`."""
    uri: str | None
    """Address of a tracking server or database. Null: MLFLOW_TRACKING_URI, or else mlflow.db in the checkout."""
    experiment: str
    """Name of the MLflow experiment that holds the runs."""
    log_model: str = one_of("best", "all", "none")
    """Models that are logged: the better phase's, both phases', or none."""
    system_metrics_interval: float | None = above(0)
    """Seconds between two samples of processor, memory and GPU use. Null: no samples."""
    wait_seconds: float = at_least(0)
    """Seconds that the end of a stage waits for an unreachable server. Later, `python -m pipeline.sync` uploads."""


@dataclass(kw_only=True)
class ExportConfig:
    """Checks that an exported model must pass."""

    name: str
    """Name of the chosen file in `conf/export/`."""
    images: int = at_least(64)
    """Images on which an export is compared with the classifier that it was made from."""
    tolerance: float = above(0)
    """Largest difference of a probability, in float32 formats. Their most probable class must agree on every image."""
    int8_agreement: float = between(0, 1)
    """Least fraction of images with the same most probable class, in 8-bit formats."""
    int8_images: int = at_least(1)
    """Images that calibrate the value ranges of 8-bit formats; disjoint from `images` where there are enough."""


@dataclass(kw_only=True)
class RegisterConfig:
    """Rules by which a challenger replaces the champion in the model registry."""

    name: str
    """Name of the chosen file in `conf/register/`."""
    model: str
    """Name of the registered model in MLflow."""
    margin: float = fraction()
    """Loss of accuracy that the test must rule out before a cheaper challenger replaces the champion."""
    cost: str = one_of("size", "trainable", "latency", "training")
    """Cost by which a challenger can be cheaper: file size, trainable weights, latency, or training time."""
    saving: float = fraction()
    """Least saving, as a fraction of the champion's cost; smaller differences count as noise."""


@dataclass(kw_only=True)
class FindLrConfig:
    """The learning-rate range test, `python -m pipeline.find_lr`."""

    name: str
    """Name of the chosen file in `conf/find_lr/`."""
    low: float = above(0)
    """First learning rate."""
    high: float = above(0)
    """Last learning rate; above `low`."""
    steps: int = at_least(10)
    """Batches over which the learning rate rises exponentially from `low` to `high`."""


@dataclass(kw_only=True)
class SweepConfig:
    """Treatment of failed jobs and dead workers in a sweep."""

    name: str
    """Name of the chosen file in `conf/sweep/`."""
    retry_failed: bool
    """Rerun jobs that failed before. Complete jobs are always skipped, and interrupted ones always resumed."""
    relaunches: int = at_least(0)
    """Number of times that a launcher is restarted after its workers died."""


@dataclass(kw_only=True)
class Config:
    """The whole configuration."""

    seed: int = bounded(minimum=0, maximum=2**32 - 1)
    """Seed of all random draws: splits, initial weights, order of images, augmentation, dropout."""
    image_size: int = at_least(1)
    """Side in pixels of the square that every image is resized to."""
    cache_folder: str
    """Folder of decoded images, cached features and checkpoints. A relative path starts from the checkout."""
    dataset: DatasetConfig
    """The data set: source, splits and checks."""
    backbone: BackboneConfig
    """The pretrained network."""
    augment: AugmentConfig
    """Augmentation of training images."""
    train: TrainConfig
    """Phase 1, feature extraction."""
    finetune: FinetuneConfig
    """Phase 2, fine-tuning."""
    evaluate: EvaluateConfig
    """Evaluation on the test images."""
    hardware: HardwareConfig
    """Devices, precision and limits of the cache."""
    tracking: TrackingConfig
    """MLflow tracking."""
    export: ExportConfig
    """Checks of exported models."""
    register: RegisterConfig
    """Rules of promotion in the model registry."""
    find_lr: FindLrConfig
    """The learning-rate range test."""
    sweep: SweepConfig
    """Treatment of failed jobs in a sweep."""


PHASES = ("train", "finetune")
"""The phases of training, feature extraction and fine-tuning: sections of the configuration, and stages.

They resume after their last completed epoch.
"""

_EXPERIMENT = ("seed", "image_size", "dataset", "backbone", "augment", "train", "finetune", "evaluate", "hardware")


def experiment_settings(config: Config) -> Json:
    """Return every setting that a result depends on, as plain values, without folders and addresses."""
    settings = {name: value for name, value in asdict(config).items() if name in _EXPERIMENT}
    # Images and weights files are identified by their digests, not by their paths.
    del settings["dataset"]["path"]
    if config.backbone.has_weights_file:
        settings["backbone"]["weights"] = "file"
    return settings
