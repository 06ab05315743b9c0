"""Schema of the configuration; its sections about images and training are in `dataset` and `training`."""

from dataclasses import asdict, dataclass

from pipeline.config.dataset import AugmentConfig
from pipeline.config.dataset import ColumnsConfig as ColumnsConfig
from pipeline.config.dataset import CurationConfig as CurationConfig
from pipeline.config.dataset import DatasetConfig as DatasetConfig
from pipeline.config.dataset import DriftConfig as DriftConfig
from pipeline.config.dataset import NearDuplicatesConfig as NearDuplicatesConfig
from pipeline.config.dataset import SplitFoldersConfig as SplitFoldersConfig
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
    """Number of images per batch."""
    confidence: float = between(0, 1)
    """Confidence level of the intervals; 1 minus this is the significance level of the tests."""
    resamples: int = at_least(100)
    """Number of resamples of the stratified bootstrap, for intervals that have no formula."""
    top_k: int = at_least(2)
    """Value of k in top-k accuracy, which is reported if there are more than k classes."""
    calibration_bins: int = at_least(2)
    """Number of equally wide bins of the reliability diagram and the expected calibration error (ECE)."""
    calibrate: bool
    """Divide logits by a temperature fitted on the validation images, in reported results and the logged model."""
    gallery: int = at_least(0)
    """Number of images in each gallery: the most confident errors, and the least confident correct predictions."""
    tta: str = one_of("none", "flip", "crops", "flip_crops")
    """Test-time augmentation: mean over the image and its mirror image (flip), over the image and five crops (crops),
    or over these six and their mirror images (flip_crops)."""
    corruptions: str = one_of("none", "all")
    """Corruptions for measuring robustness. none: robustness is not measured. all: accuracy under eleven corruptions at
    five severities each."""
    corruption_images: int | None = at_least(1)
    """Number of randomly chosen test images on which robustness is measured. Null: all."""


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
    """Models to log: that of the better phase (best), those of both phases (all), or none."""
    system_metrics_interval: float | None = above(0)
    """Seconds between two measurements of CPU, memory and GPU use. Null: no measurements."""
    wait_seconds: float = at_least(0)
    """Longest time in seconds that a stage waits at its end for an unreachable server. After that,
    `python -m pipeline.sync` uploads its results."""


@dataclass(kw_only=True)
class ExportConfig:
    """Checks that an exported model must pass."""

    name: str
    """Name of the chosen file in `conf/export/`."""
    images: int = at_least(64)
    """Number of images on which an exported model is compared with the original classifier."""
    tolerance: float = above(0)
    """Largest allowed difference of probabilities in float32 formats. The most probable class must always agree."""
    int8_agreement: float = between(0, 1)
    """Smallest allowed fraction of images with the same most probable class in 8-bit formats."""
    int8_images: int = at_least(1)
    """Number of images that calibrate the value ranges of 8-bit formats; disjoint from `images` if there are enough."""


@dataclass(kw_only=True)
class RegisterConfig:
    """Rules by which a challenger replaces the champion in the model registry."""

    name: str
    """Name of the chosen file in `conf/register/`."""
    model: str
    """Name of the registered model in MLflow."""
    margin: float = fraction()
    """Largest acceptable loss of accuracy: a statistical test must rule out a larger one before a cheaper challenger
    replaces the champion."""
    cost: str = one_of("size", "trainable", "latency", "training")
    """Cost that is compared: file size, number of trainable weights, latency, or training time."""
    saving: float = fraction()
    """Smallest relevant saving, as a fraction of the champion's cost; smaller differences are treated as noise."""


@dataclass(kw_only=True)
class FindLrConfig:
    """Learning-rate range test, `python -m pipeline.find_lr`."""

    name: str
    """Name of the chosen file in `conf/find_lr/`."""
    low: float = above(0)
    """First learning rate."""
    high: float = above(0)
    """Last learning rate; must be above `low`."""
    steps: int = at_least(10)
    """Number of batches over which the learning rate rises exponentially from `low` to `high`."""


@dataclass(kw_only=True)
class SweepConfig:
    """Treatment of failed jobs and dead workers in a sweep."""

    name: str
    """Name of the chosen file in `conf/sweep/`."""
    retry_failed: bool
    """Rerun jobs that failed before. Complete jobs are always skipped, and interrupted ones always resumed."""
    relaunches: int = at_least(0)
    """Largest number of times that a launcher is restarted after its workers died."""


@dataclass(kw_only=True)
class Config:
    """Complete configuration."""

    seed: int = bounded(minimum=0, maximum=2**32 - 1)
    """Seed of all random numbers: splits, initial weights, order of images, augmentation, dropout."""
    image_size: int = at_least(1)
    """Side in pixels of the square to which every image is resized."""
    cache_folder: str
    """Folder of decoded images, features, results of stages and checkpoints. A relative path is relative to the
    checkout."""
    plan: bool
    """Print a plan of what the command would compute, and run nothing. DVC ignores it."""
    dataset: DatasetConfig
    """Data set: source, splits and checks."""
    backbone: BackboneConfig
    """Pretrained network."""
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
    """Learning-rate range test."""
    sweep: SweepConfig
    """Treatment of failed jobs in a sweep."""


PHASES = ("train", "finetune")
"""Training phases, feature extraction and fine-tuning: names of their configuration sections and stages.

An interrupted phase resumes after its last completed epoch.
"""

_EXPERIMENT = ("seed", "image_size", "dataset", "backbone", "augment", "train", "finetune", "evaluate", "hardware")


def experiment_settings(config: Config) -> Json:
    """Return all settings that results depend on, as plain values, without folders and addresses."""
    settings = {name: value for name, value in asdict(config).items() if name in _EXPERIMENT}
    # Images and weights files are identified by their digests, not by their paths.
    del settings["dataset"]["path"]
    if config.backbone.has_weights_file:
        settings["backbone"]["weights"] = "file"
    return settings
