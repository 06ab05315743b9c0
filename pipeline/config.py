"""What a configuration may say: typed sections, with a docstring and the allowed values per field."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


def _limited(allowed: str, holds: Callable[[Any], bool]):
    return field(metadata={"allowed": allowed, "holds": holds})


def _at_least(low: float):
    return _limited(f"at least {low}", lambda value: math.isfinite(value) and value >= low)


def _above(low: float):
    return _limited(f"a number above {low}", lambda value: math.isfinite(value) and value > low)


def _between(low: float, high: float):
    return _limited(f"above {low} and below {high}", lambda value: low < value < high)


def _share():
    return _limited("at least 0 and below 1", lambda value: 0 <= value < 1)


def _one_of(*choices: str):
    return field(metadata={"choices": " | ".join(choices), "holds": lambda value: value in choices})


def _is_class_weight(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value in ("none", "balanced")
    return all(isinstance(weight, int | float) and 0 < weight < math.inf for weight in value.values())


@dataclass
class ColumnsConfig:
    """The names of a table's columns."""

    path: str
    """Of the pictures' files; relative ones are taken from the table's folder."""
    label: str
    split: str | None
    """train, validation or test; a table need not have it. Null: not looked at."""


@dataclass
class NearDuplicatesConfig:
    """When two files show the same picture: perceptual hashes of 256 bits that hardly differ."""

    find: bool
    """Whether to look for them; files with the same bytes are duplicates anyway."""
    distance: int = _limited("0 to 64 bits", lambda value: 0 <= value <= 64)
    """Bits that may differ."""
    mirrored: bool
    """Whether a mirrored picture is a duplicate as well."""
    min_side: int = _at_least(16)
    """Pictures with a shorter side in pixels are not hashed: what they show is too little to tell them apart by."""
    min_detail: float = _at_least(0)
    """Nor are pictures flatter than this: the median amplitude of what the hash looks at, in levels of 255."""


@dataclass
class DriftConfig:
    """When a split differs so much from training that prepare warns."""

    class_mix: float = _between(0, 1)
    """Total variation distance of the class shares: the mix alone can move an accuracy by so much."""
    appearance: float = _between(0, 1)
    """Kolmogorov-Smirnov distance of brightness, contrast, saturation, size or shape."""
    p_value: float = _between(0, 1)
    """And how unlikely chance must be, over all tests together."""


@dataclass
class DatasetConfig:
    name: str
    source: str = _one_of("folder", "csv", "tfds", "digits")
    """What `path` is: a folder of class folders, or a table with a row a picture; or an image set of TensorFlow Datasets, or scikit-learn's digits."""
    path: str | None
    """Folder of the pictures, or the CSV file; a relative one is taken from the checkout. Null for pictures that come from elsewhere."""
    tfds: str | None
    """Name and version of a set of TensorFlow Datasets, such as tf_flowers:3.0.1."""
    columns: ColumnsConfig
    """Of a CSV file."""
    groups: str | None
    """What must not be torn apart by a split (a patient, a product, a burst): a column of the CSV file, or a regular expression on the
    path, whose first group (else all that it matches) names the group."""
    test: str = _one_of("auto", "validation")
    """auto: the given test split, else one is cut off; validation: the given validation split serves as the test set."""
    test_fraction: float = _between(0, 1)
    """Share of all pictures cut off for testing where no test split is given."""
    validation_fraction: float = _between(0, 1)
    """Share of the training pictures cut off for validation where no validation split is given."""
    min_images_per_class: int = _at_least(3)
    """A class with fewer readable pictures for training is an error: each split needs one at least."""
    max_pixels: int = _at_least(1)
    """Width times height of a picture at most; larger ones are quarantined before they are decoded."""
    near_duplicates: NearDuplicatesConfig
    on_leak: str = _one_of("fail", "drop", "keep")
    """Where given splits share a picture or a group: an error, leave it out of the split that is trained or chosen by, or keep and count it."""
    label_conflicts: str = _one_of("quarantine", "keep")
    """What happens to pictures that occur under several labels."""
    drift: DriftConfig
    mirror: bool
    """Whether a mirrored picture still belongs to its class; false for signs and digits."""
    image_size: int | None = _at_least(1)
    """Side in pixels that suits these pictures; null: the backbone's own. `image_size` on the top level has the last word."""


@dataclass
class BackboneConfig:
    name: str
    constructor: str
    """A constructor of `keras.applications`, or one of `pipeline.models`."""
    preprocessing: str = _one_of("caffe", "tf", "torch", "lite", "none")
    """How pixels of 0 to 255 become what the network was pretrained on (`pipeline.models.preprocessing`)."""
    image_size: int = _at_least(1)
    """Side in pixels that it was pretrained at."""
    min_image_size: int = _at_least(1)
    """The smallest side in pixels that its constructor takes."""
    blocks: str
    """Regular expression on layer names; its first group is the name of the block that the layer belongs to."""
    unfreeze: int | str
    """Where its trainable part begins in fine-tuning, unless `finetune.unfreeze` says otherwise."""
    weights: str
    """imagenet | random | the path of a Keras weights file for this backbone without its classifier."""


@dataclass
class AugmentConfig:
    name: str
    views: int = _at_least(0)
    """Seeded versions of each training picture beside the plain one, taken in turn, one an epoch. As many as epochs: never the same twice."""
    horizontal_flip: bool
    """Half of the versions are mirrored."""
    rotation_degrees: float = _limited("0 to 180 degrees", lambda value: 0 <= value <= 180)
    """Largest turn to either side, in degrees."""
    zoom: float = _share()
    """Largest change of scale to either side: 0.1 is from 0.9 to 1.1."""


@dataclass
class PhaseConfig:
    """What both training phases have."""

    name: str
    epochs: int = _at_least(1)
    batch_size: int = _at_least(1)
    """Pictures a step, over all devices together."""
    learning_rate: float = _above(0)
    """Of Adam, at its highest."""
    early_stopping_patience: int | None = _at_least(0)
    """Stop after so many epochs without a better `monitor`; null: never."""
    monitor: str = _one_of("val_loss", "val_accuracy")
    """What makes an epoch the best."""
    restore_best: bool
    """Keep the best epoch's weights instead of the last one's."""
    class_weight: Any = field(
        metadata={"choices": "none | balanced | {<class>: <number above 0>, ...}", "holds": _is_class_weight}
    )
    """What a picture of each class counts in the training loss: alike, as the inverse of the class's share, or as said (others 1)."""
    balanced_sampling: bool
    """Draw as many pictures of each class in an epoch; of large classes other ones each time, of small ones some repeatedly."""


@dataclass
class TrainConfig(PhaseConfig):
    dropout: float = _share()
    """Share of features dropped before the classifier."""
    hidden_units: int = _at_least(0)
    """Width of a hidden layer in the head; 0: none."""
    l2: float = _at_least(0)
    """L2 penalty on the head's kernels; reported losses contain it."""
    label_issues: bool
    """Rank the training pictures by how little their labels are believed, cross-validated on what the frozen backbone makes of them."""


@dataclass
class FinetuneConfig(PhaseConfig):
    schedule: str = _one_of("constant", "cosine")
    """The learning rate after warm-up: as it is, or falling to 0 along half a cosine."""
    warmup_epochs: float = _at_least(0)
    """Epochs over which the learning rate rises from 0."""
    unfreeze: int | str
    """Where the trainable part begins: a block's or a layer's name, a layer's index, a number of blocks from the top (-2), all or none."""
    freeze_batch_norm: bool
    """Keep BatchNormalization layers, statistics and weights, as they were pretrained."""


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
    corruptions: str = _one_of("none", "all")
    """all: accuracy under each of `pipeline.results.corruptions` at five severities."""
    corruption_images: int | None = _at_least(1)
    """Test pictures that are damaged for it, drawn with the seed; null: all."""


@dataclass
class HardwareConfig:
    name: str
    precision: str = _one_of("auto", "float32", "mixed_bfloat16", "mixed_float16")
    """Of the arithmetic within the backbone, as Keras's dtype policies are called; the head, losses, metrics and what is saved stay float32."""
    deterministic: bool
    """The same run again gives the same numbers, to the last digit on the same machine; costs some speed."""
    strategy: str = _one_of("one_device", "mirrored", "multi_worker")
    """one_device: the first GPU, else the CPU; mirrored: every local GPU holds a copy and takes its share of a batch; multi_worker: so do those of
    several processes, on one machine or many, that TF_CONFIG names (`pipeline.workers`)."""
    intra_op_threads: int | None = _at_least(1)
    """Threads within one operation; null: all cores."""
    inter_op_threads: int | None = _at_least(1)
    """Operations at once; null: all cores."""
    memory_growth: bool
    """Take GPU memory as needed instead of all at the start."""
    jit_compile: bool
    """Compile the training step with XLA."""
    frozen_batch_size: int = _at_least(1)
    """Pictures at once in passes through the frozen part."""
    picture_cache_gib: float = _at_least(0)
    """A split's decoded pictures are kept up to so many GiB; beyond, each is decoded whenever it is needed."""
    feature_cache_gib: float = _at_least(0)
    """What the frozen part computes for a phase is kept up to so many GiB; beyond, it is computed again in every epoch."""


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
    """Pictures that each export is compared on with the classifier that it was made of."""
    tolerance: float = _above(0)
    """Largest difference of a probability, in formats that compute in float32; there the most probable class has to be the same throughout."""
    int8_agreement: float = _between(0, 1)
    """Least share of pictures with the same most probable class, in formats of eight bits."""
    int8_pictures: int = _at_least(1)
    """Pictures from which ranges of numbers are taken for eight bits, none of them among those compared on if there are enough."""


@dataclass
class RegisterConfig:
    name: str
    model: str
    """The registered model's name in MLflow."""
    margin: float = _share()
    """How much less accuracy than the champion's the test has to rule out for a cheaper challenger to take its place."""
    cost: str = _one_of("size", "trainable", "latency", "training")
    """In what it has to be cheaper."""


@dataclass
class SweepConfig:
    name: str
    retry_failed: bool
    """Whether `-m` tries jobs again that failed before; complete ones are skipped, and cut-off ones go on, in either case."""
    relaunches: int = _at_least(0)
    """How often a launcher is started again after its workers died."""


BESIDE = ("cache_folder", "export", "register", "sweep")
"""Entries of the configuration that no result of a stage depends on."""


@dataclass
class Config:
    seed: int = _limited("0 to 4294967295", lambda value: 0 <= value < 2**32)
    """Of everything drawn at random: splits, initial weights, order, augmentation, dropout."""
    image_size: int = _at_least(1)
    """Side in pixels of the square that every picture is resized to."""
    cache_folder: str
    """Where decoded pictures and frozen work are kept; a relative one is taken from the checkout. No result depends on it."""
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
    sweep: SweepConfig
