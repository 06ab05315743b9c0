"""Schema of the configuration; its sections about images and training are in `dataset` and `training`."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config.dataset import AugmentConfig
from pipeline.config.dataset import ColumnsConfig as ColumnsConfig
from pipeline.config.dataset import CurationConfig as CurationConfig
from pipeline.config.dataset import DatasetConfig as DatasetConfig
from pipeline.config.dataset import DriftConfig as DriftConfig
from pipeline.config.dataset import NearDuplicatesConfig as NearDuplicatesConfig
from pipeline.config.dataset import SplitFoldersConfig as SplitFoldersConfig
from pipeline.config.image import ImageConfig
from pipeline.config.limits import SIZE, above, at_least, between, bounded, fraction, one_of
from pipeline.config.training import ADDRESSES as ADDRESSES
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
    """Number of images per batch: more use more memory. Useful: 16 to 256."""
    confidence: float = between(0, 1)
    """Confidence level of the intervals; 1 minus this is the significance level of the tests. Higher gives wider
    intervals, and fewer differences count. Useful: 0.9 to 0.99."""
    resamples: int = at_least(100)
    """Number of resamples of the stratified bootstrap, for intervals that have no formula. More make their bounds
    steadier, and take longer. Useful: 1,000 to 10,000."""
    top_k: int = at_least(2)
    """Value of k in top-k accuracy, which is reported if there are more than k classes. Useful: the number of answers
    that a user would read, such as 3 or 5."""
    calibration_bins: int = at_least(2)
    """Number of bins: of equal width for the expected calibration error (ECE), of equally many images for its chart.
    More bins have fewer images each, which raises the ECE by chance. Useful: 10 to 20."""
    calibrate: bool
    """Divide logits by a temperature fitted on the validation images, in reported results and the logged model. It
    makes probabilities agree with how often they are right, and changes no predicted class."""
    gallery: int = at_least(0)
    """Number of images in each gallery of the report: the most confident errors, and the least confident correct
    predictions. Each gets a heat map, which takes time. Useful: 0 to 48."""
    map_images: int = at_least(0)
    """Largest number of test images on the report's map, on which similar images are close; 0: no map. More take
    longer: 1,000 a few seconds. Useful: 500 to 3,000."""
    tta: str = one_of("none", "flip", "crops", "flip_crops")
    """Test-time augmentation: mean over the image and its mirror image (flip), over the image and five crops (crops),
    or over these six and their mirror images (flip_crops). It often adds a little accuracy, for 2, 6 or 12 times the
    cost of a prediction."""
    corruptions: str = one_of("none", "all")
    """Corruptions for measuring robustness. none: robustness is not measured. all: accuracy under eleven corruptions at
    five severities each."""
    corruption_images: int | None = at_least(1)
    """Number of randomly chosen test images on which robustness is measured. Fewer are faster and less exact. Null:
    all. Useful: 200 to 2,000."""


@dataclass(kw_only=True)
class TrackingConfig:
    """MLflow tracking."""

    name: str
    """Name of the chosen file in `conf/tracking/`."""
    uri: str | None
    """Address of a tracking server or database. Null: MLFLOW_TRACKING_URI, or else mlflow.db in the checkout."""
    experiment: str
    """Name of the MLflow experiment that holds the runs. Only runs in one experiment are compared; one for each task
    keeps lists short."""
    log_model: str = one_of("best", "all", "none")
    """Models to log: that of the better phase (best), those of both phases (all), or none. A model takes disk space in
    the store, and can't be registered without."""
    system_metrics_interval: float | None = above(0)
    """Seconds between two measurements of CPU, memory and GPU use, which MLflow draws. Null: no measurements. Useful: 1
    to 60."""
    wait_seconds: float = at_least(0)
    """Longest time in seconds that a stage waits at its end for an unreachable server. After that,
    `python -m pipeline.sync` uploads its results."""


@dataclass(kw_only=True)
class ExportConfig:
    """Checks that an exported model must pass."""

    name: str
    """Name of the chosen file in `conf/export/`."""
    images: int = at_least(64)
    """Number of images on which an exported model is compared with the original classifier. More find rarer
    differences, and take longer. Useful: 64 to 1,000."""
    tolerance: float = above(0)
    """Largest allowed difference of probabilities in float32 formats. The most probable class must always agree.
    Useful: 1e-5 to 1e-3."""
    int8_agreement: float = between(0, 1)
    """Smallest allowed fraction of images with the same most probable class in 8-bit formats, which lose some accuracy.
    Useful: 0.95 to 0.99."""
    int8_images: int = at_least(1)
    """Number of images that calibrate the value ranges of 8-bit formats; disjoint from `images` if there are enough.
    Useful: 100 to 500."""


@dataclass(kw_only=True)
class RegisterConfig:
    """Rules by which a challenger replaces the champion in the model registry."""

    name: str
    """Name of the chosen file in `conf/register/`."""
    model: str
    """Name of the registered model in MLflow."""
    margin: float = fraction()
    """Largest acceptable loss of accuracy: a statistical test must rule out a larger one before a cheaper challenger
    replaces the champion. A smaller margin needs more test images. Useful: 0.002 to 0.02."""
    cost: str = one_of("size", "trainable", "latency", "training")
    """Cost that is compared: file size, number of trainable weights, latency, or training time. size and trainable are
    the same on every machine; the others are measured."""
    saving: float = fraction()
    """Smallest relevant saving, as a fraction of the champion's cost; smaller differences are treated as noise.
    Useful: 0.02, or 0.1 for measured costs."""


@dataclass(kw_only=True)
class FindLrConfig:
    """Learning-rate range test, `python -m pipeline.find_lr`."""

    name: str
    """Name of the chosen file in `conf/find_lr/`."""
    low: float = above(0)
    """First learning rate, at which nothing should happen yet. Useful: 1e-7 to 1e-5."""
    high: float = above(0)
    """Last learning rate, at which the loss should rise again; must be above `low`. Useful: 0.1 to 10."""
    steps: int = at_least(10)
    """Number of batches over which the learning rate rises exponentially from `low` to `high`. More give a smoother
    curve; with few images they are repeated, which misleads. Useful: 50 to 300."""


@dataclass(kw_only=True)
class SweepConfig:
    """Treatment of failed jobs and dead workers in a sweep."""

    name: str
    """Name of the chosen file in `conf/sweep/`."""
    retry_failed: bool
    """Rerun jobs that failed before, once their cause is removed. Complete jobs are always skipped, and interrupted
    ones always resumed."""
    relaunches: int = at_least(0)
    """Largest number of times that a launcher is restarted after its workers died, for example from lack of memory.
    Useful: 0 to 10."""


@dataclass(kw_only=True)
class Config:
    """Complete configuration."""

    seed: int = bounded(minimum=0, maximum=2**32 - 1)
    """Seed of all random numbers: splits, initial weights, order of images, augmentation, dropout. Runs with several
    seeds show how much of a difference is chance. Useful: any three to five values."""
    image_size: Any = SIZE
    """Size in pixels to which every image is resized: the side of a square, or [height, width] for images that are far
    from square and of one shape. Larger shows finer detail, at a cost that grows with the number of pixels. Useful: 64
    to 384; the backbone's own size is a good start."""
    cache_folder: str
    """Folder of decoded images, features, results of stages and checkpoints. A relative path is relative to the
    checkout."""
    plan: bool
    """Print a plan of what the command would compute, and run nothing. DVC ignores it."""
    dataset: DatasetConfig
    """Data set: source, splits and checks."""
    image: ImageConfig
    """Resizing of images to the network's input."""
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

_EXPERIMENT = (
    *("seed", "image_size", "dataset", "image", "backbone"),
    *("augment", "train", "finetune", "evaluate", "hardware"),
)


def experiment_settings(config: Config) -> Json:
    """Return all settings that results depend on, as plain values, without folders and addresses."""
    settings = {name: value for name, value in asdict(config).items() if name in _EXPERIMENT}
    # Images and weights files are identified by their digests, not by their paths.
    del settings["dataset"]["path"]
    settings["backbone"] = asdict(config.backbone.without_paths())
    return settings
