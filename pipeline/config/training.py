"""Sections of the configuration about the network, the training phases and the hardware."""

from dataclasses import dataclass
from typing import Any

from pipeline.config.limits import (
    CLASS_WEIGHT,
    INNER_FRACTIONS,
    RATE_FACTORS,
    ROUNDS,
    above,
    at_least,
    between,
    fraction,
    limited,
    one_of,
    positive_fraction,
)

OPTIMIZERS = (
    "adam", "adamw", "sgd", "adadelta", "adafactor", "adagrad", "adamax", "ftrl", "lamb", "lion", "muon", "nadam", "rmsprop",
)  # fmt: skip


@dataclass(kw_only=True)
class BackboneConfig:
    """Pretrained network, and the settings recommended for it."""

    name: str
    """Name of the chosen file in `conf/backbone/`."""
    constructor: str
    """Function that builds the network, from `keras.applications` or `pipeline.models`."""
    preprocessing: str = one_of("caffe", "tf", "torch", "lite", "none")
    """Scaling of pixel values (0 to 255) with which the network was pretrained; see `pipeline.models.classifier`."""
    image_size: int = at_least(1)
    """Side in pixels of the images on which the network was pretrained."""
    min_image_size: int = at_least(1)
    """Smallest image side in pixels that the constructor accepts."""
    blocks: str
    """Regular expression on layer names, whose first group is the name of the layer's block."""
    unfreeze: int | str
    """Start of the upper part, which `finetune.unfreeze: auto` trains if the whole backbone exceeds the budget."""
    learning_rate: float = above(0)
    """Peak learning rate of AdamW for fine-tuning this backbone."""
    rate_decay: float = positive_fraction()
    """Ratio of each block's learning rate in fine-tuning to that of the block above it."""
    weights: str
    """Initial weights: imagenet, random, or the path of a Keras weights file for this backbone without classifier."""

    @property
    def has_weights_file(self) -> bool:
        """Return whether `weights` names a file."""
        return self.weights not in ("imagenet", "random")


@dataclass(kw_only=True)
class PhaseConfig:
    """Settings common to both training phases."""

    name: str
    """Name of the chosen file of this group in `conf/`."""
    epochs: int = at_least(1)
    """Largest number of epochs; early stopping may end the phase earlier."""
    batch_size: int = at_least(1)
    """Number of images per step, over all devices together."""
    optimizer: str = one_of(*OPTIMIZERS)
    """Name of the optimizer in Keras. sgd uses Nesterov momentum."""
    learning_rate: float = above(0)
    """Peak learning rate."""
    momentum: float = fraction()
    """Momentum of sgd; other optimizers ignore it."""
    weight_decay: float = at_least(0)
    """Decoupled weight decay (as in AdamW): each step reduces a weight by this fraction times the learning rate.
    Biases and normalization weights are excluded."""
    clip_norm: float | None = above(0)
    """Largest global norm of the gradients; longer gradients are scaled down. Null: no clipping."""
    accumulate: int = at_least(1)
    """Number of batches whose gradients are averaged for one optimizer step."""
    ema: float | None = between(0, 1)
    """Decay per step of an exponential moving average of the weights, which is validated, selected and saved.
    Null: no average."""
    schedule: str = one_of("constant", "cosine", "one_cycle", "step")
    """Learning rate after warm-up. cosine: falls to 0 along half a cosine. step: is multiplied by `step_factor` every
    `step_epochs` epochs. one_cycle: rises to the peak over 30 % of the steps, then falls to 0, without warm-up."""
    warmup_epochs: float = at_least(0)
    """Number of warm-up epochs, over which the learning rate rises from 0."""
    warmup_steps: int | None = at_least(0)
    """Number of warm-up steps, instead of `warmup_epochs`. Null: `warmup_epochs` is used."""
    step_epochs: int = at_least(1)
    """Number of epochs between two reductions of the learning rate, with `schedule: step`."""
    step_factor: float = positive_fraction()
    """Factor of each reduction of the learning rate, with `schedule: step`."""
    label_smoothing: float = fraction()
    """Fraction of each training label that is spread evenly over all classes. Validation and test use plain labels."""
    diverged_above: float = above(1)
    """Training loss at which the training is stopped as diverged, as a multiple of the loss of random guessing, or of
    the loss at its start if that is higher."""
    early_stopping_patience: int | None = at_least(0)
    """Number of epochs without improvement of `monitor` after which training stops. Null: no early stopping."""
    monitor: str = one_of("val_loss", "val_accuracy")
    """Metric that selects the best epoch."""
    restore_best: bool
    """Keep the weights of the best epoch instead of the last one."""
    class_weight: Any = CLASS_WEIGHT
    """Weight of each class in the training loss. none: all 1. balanced: inverse to the class frequency.
    A mapping: weights of the given classes, 1 for all others."""
    balanced_sampling: bool
    """Use the same number of images of each class per epoch. Images of small classes are repeated;
    for large classes, each epoch uses a different random sample."""


@dataclass(kw_only=True)
class TrainConfig(PhaseConfig):
    """Phase 1, feature extraction: a new head on the frozen backbone."""

    dropout: float = fraction()
    """Dropout rate before the classification layer."""
    hidden_units: int = at_least(0)
    """Width of a hidden layer in the head. 0: no hidden layer."""
    l2: float = at_least(0)
    """L2 penalty on the head's kernels. Reported losses include it."""
    label_issues: bool
    """List the images whose labels are most likely wrong, by cross-validation on the frozen backbone's features."""


@dataclass(kw_only=True)
class FinetuneConfig(PhaseConfig):
    """Phase 2, fine-tuning: training of the backbone, in part or as a whole."""

    unfreeze: int | str = limited(
        "an integer or a text that is not empty", {"type": ["integer", "string"], "minLength": 1}
    )
    """Start of the trainable part: name of a block or layer, index of a layer, number of blocks from the top (-2),
    all, or none. auto: all if `budget` allows it, else the upper part that `backbone.unfreeze` defines."""
    budget: float = at_least(0)
    """Compute budget of `unfreeze: auto`, in 10^12 multiply-adds of the forward pass (images times epochs)."""
    freeze_batch_norm: bool
    """Keep the statistics and weights of BatchNormalization layers as pretrained."""
    rate_decay: float = positive_fraction()
    """Ratio of each block's learning rate to that of the block above it. Head and top block use the full rate."""
    rate_factors: Any = RATE_FACTORS
    """Learning rates of named blocks as multiples of the phase's learning rate, instead of `rate_decay`. Null: none."""
    dropout: float | None = fraction()
    """Dropout rate before the classification layer in this phase. Null: that of phase 1."""
    stochastic_depth: float | None = fraction()
    """Probability of skipping the topmost residual branch in a training step, which decreases linearly to 0 for lower
    branches. Null: the backbone's default."""
    interpolate: Any = INNER_FRACTIONS
    """Positions on the line from a round's initial weights (0) to those of its kept epoch (1). The round ends with the
    weights at the position with the best validation accuracy, then loss; position 1 is always tried.
    Null: no interpolation."""
    image_size: int | None = at_least(1)
    """Side of training images in pixels; validation and test use the top-level `image_size`. Null: the same side."""
    phases: Any = ROUNDS
    """Rounds of gradual unfreezing and progressive resizing, in order, each with its own optimizer and schedule.
    Keys that a round does not set have the values above. Null: a single round."""


@dataclass(kw_only=True)
class HardwareConfig:
    """Devices, precision and limits of the cache."""

    name: str
    """Name of the chosen file in `conf/hardware/`."""
    precision: str = one_of("auto", "float32", "mixed_bfloat16", "mixed_float16")
    """Numerical precision of the backbone, as a dtype policy of Keras. The head, losses, metrics and saved weights are
    always float32. auto: the fastest precision on this device."""
    deterministic: bool
    """Make results exactly reproducible on the same machine, at some cost in speed."""
    strategy: str = one_of("one_device", "mirrored", "multi_worker")
    """Distribution of training. one_device: the first GPU, or else the CPU. mirrored: all GPUs of this machine, each
    with a part of every batch. multi_worker: all processes listed in TF_CONFIG, on one or more machines."""
    intra_op_threads: int | None = at_least(1)
    """Number of threads within an operation. Null: one per core."""
    inter_op_threads: int | None = at_least(1)
    """Number of operations that run in parallel. Null: one per core."""
    memory_growth: bool
    """Allocate GPU memory as needed instead of all at the start."""
    jit_compile: bool
    """Compile the training step with XLA."""
    frozen_batch_size: int = at_least(1)
    """Number of images per forward pass through the frozen layers."""
    image_cache_gib: float = at_least(0)
    """Largest size in GiB of a split's decoded images in the cache. Larger splits are decoded again at every use."""
    feature_cache_gib: float = at_least(0)
    """Largest size in GiB of a phase's features in the cache. Larger features are computed again in every epoch."""
