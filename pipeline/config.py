"""What a configuration may say: typed sections, with a docstring and the allowed values per field."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OPTIMIZERS = (
    "adam", "adamw", "sgd", "adadelta", "adafactor", "adagrad", "adamax", "ftrl", "lamb", "lion", "muon", "nadam", "rmsprop",
)  # fmt: skip


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


def _share_of_one():
    return _limited("above 0 and at most 1", lambda value: 0 < value <= 1)


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
    """Where its upper part begins: what fine-tuning trains where the whole is too much (`finetune.unfreeze`)."""
    learning_rate: float = _above(0)
    """Highest rate that AdamW fine-tunes it at."""
    rate_decay: float = _share_of_one()
    """What each block learns at, of the rate of the block above it, in fine-tuning."""
    weights: str
    """imagenet | random | the path of a Keras weights file for this backbone without its classifier."""


def _is_factors(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and all(
            isinstance(name, str) and isinstance(factor, int | float) and 0 <= factor < math.inf
            for name, factor in value.items()
        )
    )


_PHASE_KEYS = {
    "unfreeze": lambda value: isinstance(value, str | int) and value != "",
    "epochs": lambda value: isinstance(value, int) and value >= 1,
    "learning_rate": lambda value: isinstance(value, int | float) and 0 < value < math.inf,
    "image_size": lambda value: isinstance(value, int) and value >= 1,
}


def _are_inner_shares(value: Any) -> bool:
    return value is None or (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(share, int | float) and 0 < share < 1 for share in value)
    )


def _are_phases(value: Any) -> bool:
    return value is None or (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(
            isinstance(phase, Mapping)
            and phase
            and all(key in _PHASE_KEYS and _PHASE_KEYS[key](given) for key, given in phase.items())
            for phase in value
        )
    )


@dataclass
class AugmentConfig:
    """How training pictures are varied. Strengths of 0 are off; validation, test and what is predicted are never varied."""

    name: str
    views: int = _at_least(0)
    """Of what a frozen network makes of pictures: seeded versions of each beside the plain one, kept, and taken in turn, one an epoch.
    What learns from pixels themselves needs none kept: it sees a new version each epoch."""
    horizontal_flip: bool
    """Half of the versions are mirrored."""
    rotation_degrees: float = _limited("0 to 180 degrees", lambda value: 0 <= value <= 180)
    """Largest turn to either side, in degrees."""
    zoom_in: float = _share()
    """Most that is lost at each side together: 0.25 shows three quarters of the width."""
    zoom_out: float = _at_least(0)
    """Most that is added, mirrored at the edge: 0.1 shows 1.1 times the width."""
    crop_area: float = _share_of_one()
    """Random resized crop: the smallest share of the area that is cut out and stretched to the whole, anywhere; 1: none."""
    crop_aspect: float = _at_least(1)
    """Its largest change of the ratio of width to height, either way."""
    brightness: float = _share()
    """Largest change of all pixels, of the whole range."""
    contrast: float = _share()
    """Largest change of the distance to the picture's mean, as a share."""
    saturation: float = _share()
    """Largest change of the distance to grey, as a share."""
    hue: float = _share()
    """Largest turn of the hue to either side: 1 is half of the colour circle."""
    random_operations: int = _at_least(0)
    """RandAugment: so many operations a picture, drawn from thirteen; 0: none."""
    random_strength: float = _share()
    """Their largest strength."""
    erasing: float = _share()
    """Probability that a rectangle of the picture is made grey."""
    erasing_area: float = _between(0, 1)
    """Its largest share of the picture."""
    mixup: float = _at_least(0)
    """Parameter of the beta distribution of the share of another picture of the batch that is mixed in (MixUp); 0: none."""
    cutmix: float = _at_least(0)
    """The same for the share that a rectangle of another picture takes (CutMix); with both, each batch draws one of them."""

    @property
    def varies(self) -> bool:
        """Whether any strength but that of mixing is above 0."""
        return self.horizontal_flip or self.crop_area < 1 or any(
            (
                self.rotation_degrees, self.zoom_in, self.zoom_out, self.brightness, self.contrast, self.saturation, self.hue,
                self.random_operations, self.erasing,
            )
        )  # fmt: skip

    @property
    def mixes(self) -> bool:
        """Whether pictures are mixed with one another."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass
class PhaseConfig:
    """What both training phases have."""

    name: str
    epochs: int = _at_least(1)
    batch_size: int = _at_least(1)
    """Pictures a step, over all devices together."""
    optimizer: str = _one_of(*OPTIMIZERS)
    """As Keras calls them; sgd is with Nesterov momentum."""
    learning_rate: float = _above(0)
    """At its highest."""
    momentum: float = _share()
    """Of sgd."""
    weight_decay: float = _at_least(0)
    """Share of each weight, times the rate, taken off a step (decoupled, as AdamW does); never of biases and normalisation."""
    clip_norm: float | None = _above(0)
    """Longest that all gradients together may be; longer ones are shortened. Null: as they are."""
    accumulate: int = _at_least(1)
    """Batches whose mean gradient makes a step of the optimizer."""
    ema: float | None = _between(0, 1)
    """Keep a moving average of the weights, with this share of the old a step; that is what is validated, chosen and saved. Null: none."""
    schedule: str = _one_of("constant", "cosine", "one_cycle", "step")
    """The learning rate after warm-up: as it is; falling to 0 along half a cosine; rising over 30 % of the steps to its highest and falling
    to 0, without other warm-up; or times `step_factor` every `step_epochs`."""
    warmup_epochs: float = _at_least(0)
    """Epochs over which the learning rate rises from 0."""
    warmup_steps: int | None = _at_least(0)
    """The same in batches; null: `warmup_epochs` decides."""
    step_epochs: int = _at_least(1)
    step_factor: float = _share_of_one()
    label_smoothing: float = _share()
    """Share of each training label that is spread evenly over all classes. Validation and test losses are of the labels as they are."""
    diverged_above: float = _above(1)
    """A training loss of so many times that of guessing ends the training as diverged."""
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
    unfreeze: int | str = _limited("not empty", lambda value: value != "")
    """Where the trainable part begins: a block's or a layer's name, a layer's index, a number of blocks from the top (-2), all or none;
    auto: all where `budget` allows it, else the backbone's upper part."""
    budget: float = _at_least(0)
    """What auto allows to spend on the whole backbone, forward: 10^12 multiplications, over all pictures and epochs."""
    freeze_batch_norm: bool
    """Keep BatchNormalization layers, statistics and weights, as they were pretrained."""
    rate_decay: float = _share_of_one()
    """What each block learns at, of the rate of the block above it; the head and the top block at the whole rate."""
    rate_factors: Any = field(
        metadata={"choices": "null, or {<block, head or stem>: <number, at least 0>, ...}", "holds": _is_factors}
    )
    """What named blocks learn at, of the rate, instead."""
    dropout: float | None = _share()
    """Share of features dropped before the classifier in this phase; null: as in phase 1."""
    stochastic_depth: float | None = _share()
    """Probability that the topmost residual branch is left out of a training step, falling linearly to 0 below; null: as the backbone has it."""
    interpolate: Any = field(
        metadata={
            "choices": "null, or a list of numbers above 0 and below 1, such as [0.25, 0.5, 0.75]",
            "holds": _are_inner_shares,
        }
    )
    """Shares of the way from a phase's first weights to its kept epoch's: of the weights there and the epoch's own, those stay that are best
    on validation, by accuracy, then by loss. Null: the epoch's own."""
    image_size: int | None = _at_least(1)
    """Side in pixels that is trained at; validation and test stay at the top-level `image_size`. Null: the same."""
    phases: Any = field(
        metadata={
            "choices": "null, or a list of {unfreeze, epochs, learning_rate, image_size}, each at least one of them, such as "
            "[{unfreeze: -1, epochs: 2}, {unfreeze: all, epochs: 6, learning_rate: 3e-4}]",
            "holds": _are_phases,
        }
    )
    """Gradual unfreezing and progressive resizing: phases one after the other, each with an optimizer and a schedule of its own; what a
    phase does not say is as above. Null: one phase."""


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
    """Test-time augmentation: the mean over the picture and its mirror image, over it and five crops, or over these mirrored as well."""
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


BESIDE = ("cache_folder", "export", "register", "find_lr", "sweep")
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
    find_lr: FindLrConfig
    sweep: SweepConfig
