"""Sections of the configuration about the network and both training phases."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.config.limits import (
    _above,
    _are_inner_shares,
    _are_phases,
    _at_least,
    _between,
    _is_class_weight,
    _is_factors,
    _limited,
    _one_of,
    _positive_fraction,
    _share,
)

OPTIMIZERS = (
    "adam", "adamw", "sgd", "adadelta", "adafactor", "adagrad", "adamax", "ftrl", "lamb", "lion", "muon", "nadam", "rmsprop",
)  # fmt: skip


@dataclass
class BackboneConfig:
    name: str
    constructor: str
    """A constructor of `keras.applications`, or one of `pipeline.models`."""
    preprocessing: str = _one_of("caffe", "tf", "torch", "lite", "none")
    """How pixels of 0 to 255 become what the network was pretrained on (`pipeline.models.classifier`)."""
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
    rate_decay: float = _positive_fraction()
    """What each block learns at, of the rate of the block above it, in fine-tuning."""
    weights: str
    """imagenet | random | the path of a Keras weights file for this backbone without its classifier."""

    @property
    def has_weights_file(self) -> bool:
        """Whether `weights` names a file."""
        return self.weights not in ("imagenet", "random")


@dataclass
class PhaseConfig:
    """What both training phases have."""

    name: str
    epochs: int = _at_least(1)
    batch_size: int = _at_least(1)
    """Images a step, over all devices together."""
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
    step_factor: float = _positive_fraction()
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
    """What an image of each class counts in the training loss: alike, as the inverse of the class's share, or as said (others 1)."""
    balanced_sampling: bool
    """Draw as many images of each class in an epoch; of large classes other ones each time, of small ones some repeatedly."""


@dataclass
class TrainConfig(PhaseConfig):
    dropout: float = _share()
    """Share of features dropped before the classifier."""
    hidden_units: int = _at_least(0)
    """Width of a hidden layer in the head; 0: none."""
    l2: float = _at_least(0)
    """L2 penalty on the head's kernels; reported losses contain it."""
    label_issues: bool
    """Rank the training images by how little their labels are believed, cross-validated on what the frozen backbone makes of them."""


@dataclass
class FinetuneConfig(PhaseConfig):
    unfreeze: int | str = _limited("not empty", lambda value: value != "")
    """Where the trainable part begins: a block's or a layer's name, a layer's index, a number of blocks from the top (-2), all or none;
    auto: all where `budget` allows it, else the backbone's upper part."""
    budget: float = _at_least(0)
    """What auto allows to spend on the whole backbone, forward: 10^12 multiplications, over all images and epochs."""
    freeze_batch_norm: bool
    """Keep BatchNormalization layers, statistics and weights, as they were pretrained."""
    rate_decay: float = _positive_fraction()
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
class HardwareConfig:
    name: str
    precision: str = _one_of("auto", "float32", "mixed_bfloat16", "mixed_float16")
    """Of the arithmetic within the backbone, as Keras's dtype policies are called; the head, losses, metrics and what is saved stay float32."""
    deterministic: bool
    """The same run again gives the same numbers, to the last digit on the same machine; costs some speed."""
    strategy: str = _one_of("one_device", "mirrored", "multi_worker")
    """one_device: the first GPU, else the CPU; mirrored: every local GPU holds a copy and takes its share of a batch; multi_worker: so do those of
    several processes, on one machine or many, that TF_CONFIG names (`pipeline.training.multi_worker`)."""
    intra_op_threads: int | None = _at_least(1)
    """Threads within one operation; null: all cores."""
    inter_op_threads: int | None = _at_least(1)
    """Operations at once; null: all cores."""
    memory_growth: bool
    """Take GPU memory as needed instead of all at the start."""
    jit_compile: bool
    """Compile the training step with XLA."""
    frozen_batch_size: int = _at_least(1)
    """Images at once in passes through the frozen part."""
    image_cache_gib: float = _at_least(0)
    """A split's decoded images are kept up to so many GiB; beyond, each is decoded whenever it is needed."""
    feature_cache_gib: float = _at_least(0)
    """What the frozen part computes for a phase is kept up to so many GiB; beyond, it is computed again in every epoch."""
