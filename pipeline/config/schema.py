"""The whole configuration, and its sections about results and tools."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config.dataset import AugmentConfig, DatasetConfig
from pipeline.config.limits import _above, _at_least, _between, _limited, _one_of, _share
from pipeline.config.training import BackboneConfig, FinetuneConfig, HardwareConfig, TrainConfig


@dataclass
class EvaluateConfig:
    name: str
    batch_size: int = _at_least(1)
    confidence: float = _between(0, 1)
    """Of the intervals; 1 less this is the level of the tests."""
    resamples: int = _at_least(100)
    """Of the stratified bootstrap, from which the intervals come that have no formula."""
    top_k: int = _at_least(2)
    """How many guesses count in top-k accuracy, where there are more classes than that."""
    calibration_bins: int = _at_least(2)
    """Bins of equal width of the reliability diagram and the expected calibration error."""
    calibrate: bool
    """Divide the logits by the temperature fitted on validation: in what is reported, and in the model that is logged."""
    gallery: int = _at_least(0)
    """How many of the most confident mistakes, and of the least confident hits, are shown."""
    tta: str = _one_of("none", "flip", "crops", "flip_crops")
    """Test-time augmentation: the mean over the image and its mirror image, over it and five crops, or over these mirrored as well."""
    corruptions: str = _one_of("none", "all")
    """all: accuracy under each of `pipeline.evaluation.corruptions` at five severities."""
    corruption_images: int | None = _at_least(1)
    """Test images that are damaged for it, drawn with the seed; null: all."""


@dataclass
class TrackingConfig:
    name: str
    uri: str | None
    """Of an MLflow tracking server or database; null: MLFLOW_TRACKING_URI, else mlflow.db in the checkout."""
    experiment: str
    """MLflow's experiment that the runs go to."""
    log_model: str = _one_of("best", "all", "none")
    system_metrics_interval: float | None = _above(0)
    """Seconds between two looks at the use of processor, memory and GPU; null: none."""
    wait_seconds: float = _at_least(0)
    """How long the end of a stage waits for a store that is away; what it does not take by then is on disk, for `python -m pipeline.sync`."""


@dataclass
class ExportConfig:
    name: str
    images: int = _at_least(64)
    """Images that each export is compared on with the classifier that it was made of."""
    tolerance: float = _above(0)
    """Largest difference of a probability, in formats that compute in float32; there the most probable class has to be the same throughout."""
    int8_agreement: float = _between(0, 1)
    """Least share of images with the same most probable class, in formats of eight bits."""
    int8_images: int = _at_least(1)
    """Images from which ranges of numbers are taken for eight bits, none of them among those compared on if there are enough."""


@dataclass
class RegisterConfig:
    name: str
    model: str
    """The registered model's name in MLflow."""
    margin: float = _share()
    """How much less accuracy than the champion's the test has to rule out for a cheaper challenger to take its place."""
    cost: str = _one_of("size", "trainable", "latency", "training")
    """In what it has to be cheaper."""
    saving: float = _share()
    """By which share of the champion's cost; less is chance, such as a name's length in a file or a measurement's noise."""


@dataclass
class FindLrConfig:
    """The rate range test."""

    name: str
    low: float = _above(0)
    """First learning rate."""
    high: float = _above(0)
    """Last one."""
    steps: int = _at_least(10)
    """Batches over which it rises from one to the other, by the same factor each."""


@dataclass
class SweepConfig:
    name: str
    retry_failed: bool
    """Whether `-m` tries jobs again that failed before; complete ones are skipped, and cut-off ones go on, in either case."""
    relaunches: int = _at_least(0)
    """How often a launcher is started again after its workers died."""


@dataclass
class Config:
    seed: int = _limited("0 to 4294967295", lambda value: 0 <= value < 2**32)
    """Of everything drawn at random: splits, initial weights, order, augmentation, dropout."""
    image_size: int = _at_least(1)
    """Side in pixels of the square that every image is resized to."""
    cache_folder: str
    """Where decoded images and frozen work are kept; a relative one is taken from the checkout. No result depends on it."""
    dataset: DatasetConfig
    backbone: BackboneConfig
    augment: AugmentConfig
    train: TrainConfig
    finetune: FinetuneConfig
    evaluate: EvaluateConfig
    hardware: HardwareConfig
    tracking: TrackingConfig
    export: ExportConfig
    register: RegisterConfig
    find_lr: FindLrConfig
    sweep: SweepConfig


PHASES = ("train", "finetune")
"""The two phases of training, feature extraction and fine-tuning: sections of the configuration, stages, and columns of tables."""

_EXPERIMENT = ("seed", "image_size", "dataset", "backbone", "augment", "train", "finetune", "evaluate", "hardware")


def experiment_settings(config: Config) -> dict[str, Any]:
    """Every setting that a result depends on, as plain values: no folder, no address, nothing about how results are kept or used."""
    settings = {name: value for name, value in asdict(config).items() if name in _EXPERIMENT}
    # Where the images lie makes no other experiment; which they are is in their digest. So with a file of weights.
    del settings["dataset"]["path"]
    if config.backbone.has_weights_file:
        settings["backbone"]["weights"] = "file"
    return settings
