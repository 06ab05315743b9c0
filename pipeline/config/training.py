"""Sections of the configuration about the network, the training phases and the hardware."""

from dataclasses import dataclass, replace
from typing import Any

from pipeline.config.limits import (
    CLASS_WEIGHT,
    INNER_FRACTIONS,
    RATE_FACTORS,
    ROUNDS,
    SIZE_OR_NULL,
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
ADDRESSES = ("runs:/", "models:/")
"""Beginnings of addresses of models in MLflow."""
WEIGHTS = ("imagenet", "preset", "random")
"""Values of `backbone.weights` that name no file."""
PREPROCESSING_KINDS = ("caffe", "tf", "torch", "lite", "clip", "none")
"""Values of `backbone.preprocessing`; see `pipeline.models.preprocessing`."""
HUB = "hub"
"""Constructor of the backbones that are KerasHub's presets."""


@dataclass(kw_only=True)
class BackboneConfig:
    """Pretrained network, and the settings recommended for it."""

    name: str
    """Name of the chosen file in `conf/backbone/`; results and comparisons show it."""
    constructor: str
    """Function that builds the network, from `keras.applications` or `pipeline.models`; hub for a preset of KerasHub.
    To use another network, write a file in `conf/backbone/` for it."""
    preset: str | None
    """Preset of KerasHub (`pip install ".[hub]"`): its name, or the folder of a preset or of a Hugging Face model, with
    a slash in its path (`./vit`). Null: the network is not from KerasHub."""
    preprocessing: str = one_of(*PREPROCESSING_KINDS)
    """Scaling of pixel values (0 to 255) with which the network was pretrained; see `pipeline.models.preprocessing`.
    Any other one costs most of what the weights know."""
    image_size: int = at_least(1)
    """Side in pixels of the images on which the network was pretrained: the default of the top-level `image_size`."""
    min_image_size: int = at_least(1)
    """Smallest height and width of an image in pixels that the constructor accepts."""
    pooling: str = one_of("average", "token", "token_average", "attention")
    """Features of an image, from those at its places. average: their mean. Vision transformers also have token: the
    class token; token_average: both, one after the other; attention: the pooling of their pretraining (SigLIP)."""
    blocks: str
    """Regular expression on layer names, whose first group is the name of the layer's block."""
    unfreeze: int | str
    """Start of the upper part, which `finetune.unfreeze: auto` trains if the whole backbone exceeds the budget. A lower
    start learns more, and costs more time. Useful: the upper quarter to half of the blocks."""
    learning_rate: float = above(0)
    """Peak learning rate of AdamW for fine-tuning this backbone, from which `finetune.learning_rate` is taken.
    Useful: 1e-4 to 5e-4 with BatchNormalization, 1e-5 to 1e-4 without."""
    rate_decay: float = positive_fraction()
    """Ratio of each block's learning rate in fine-tuning to that of the block above it, from which
    `finetune.rate_decay` is taken."""
    weights: str
    """Initial weights: imagenet, preset (those of a KerasHub preset), random, the path of a file, or a trained model. A
    file is that of Keras for this backbone without classifier. A model has this backbone, and is `runs:/<id>`,
    `models:/<name>@<alias>`, `models:/<name>/<version>`, or the path of a `.keras` file or of a job's folder. With
    random nothing is transferred, which needs many more images."""

    @property
    def has_weights_file(self) -> bool:
        """Return whether `weights` names a file, by its path or by an address in MLflow."""
        return self.weights not in WEIGHTS

    @property
    def has_preset_folder(self) -> bool:
        """Return whether `preset` is a folder, by its path or, in the settings of a stage, as `folder`."""
        return self.preset is not None and ("/" in self.preset or self.preset == "folder")

    @property
    def network(self) -> str:
        """Return a name of the network, without paths, by which its cost is estimated."""
        if self.preset is None:
            return self.constructor
        return f"{HUB} {'folder' if self.has_preset_folder else self.preset}"

    def without_paths(self) -> "BackboneConfig":
        """Return settings in which files and folders have no path, since results depend on their content."""
        weights = "file" if self.has_weights_file else self.weights
        return replace(self, weights=weights, preset="folder" if self.has_preset_folder else self.preset)


@dataclass(kw_only=True)
class PhaseConfig:
    """Settings common to both training phases."""

    name: str
    """Name of the chosen file of this group in `conf/`."""
    epochs: int = at_least(1)
    """Largest number of passes over the training images; early stopping may end the phase earlier. Too few leave
    accuracy unused. Too many cost time, since the best epoch is kept. Useful: 10 to 50 for train, 4 to 15 for
    finetune."""
    batch_size: int = at_least(1)
    """Number of images per step, over all devices together. Larger batches use more memory and fewer, smoother steps;
    raise the learning rate with them. Useful: 16 to 128."""
    optimizer: str = one_of(*OPTIMIZERS)
    """Name of the optimizer in Keras. adam and adamw work with most settings. sgd, with Nesterov momentum, needs a
    learning rate about ten times as high, lion one about a tenth."""
    learning_rate: float = above(0)
    """Peak learning rate, the first setting to tune: too high, and the loss rises or phase 1 is forgotten; too low, and
    nothing improves. Useful: 1e-4 to 1e-2 for train, 1e-5 to 1e-3 for finetune; `pipeline.find_lr` suggests one."""
    momentum: float = fraction()
    """Fraction of the last step that sgd repeats in the next; other optimizers ignore it. Useful: 0.9."""
    weight_decay: float = at_least(0)
    """Decoupled weight decay (as in AdamW): each step reduces a weight by this fraction times the learning rate.
    Biases and normalization weights are excluded. It slows overfitting in long trainings. Useful: 0, or 1e-4 to
    5e-2."""
    clip_norm: float | None = above(0)
    """Largest global norm of the gradients; longer gradients are scaled down, which helps if single batches make the
    loss jump. Null: no clipping. Useful: 1 to 10."""
    accumulate: int = at_least(1)
    """Number of batches whose gradients are averaged for one optimizer step: the effect of larger batches without their
    memory. Useful: 1 to 8."""
    ema: float | None = between(0, 1)
    """Decay per step of an exponential moving average of the weights, which is validated, selected and saved. It
    smooths noisy epochs; with few steps it lags behind. Null: no average. Useful: 0.99 to 0.999."""
    schedule: str = one_of("constant", "cosine", "one_cycle", "step")
    """Learning rate after warm-up. cosine: falls to 0 along half a cosine. step: is multiplied by `step_factor` every
    `step_epochs` epochs. one_cycle: rises to the peak over 30 % of the steps, then falls to 0, without warm-up. A
    falling rate settles at the end, so that the last epochs are the best ones."""
    warmup_epochs: float = at_least(0)
    """Number of warm-up epochs, over which the learning rate rises from 0. It protects the pretrained weights from the
    first steps. Useful: 0 for train, 0.5 to 2 for finetune."""
    warmup_steps: int | None = at_least(0)
    """Number of warm-up steps, instead of `warmup_epochs`, if it must not depend on the number of images. Null:
    `warmup_epochs` is used."""
    step_epochs: int = at_least(1)
    """Number of epochs between two reductions of the learning rate, with `schedule: step`."""
    step_factor: float = positive_fraction()
    """Factor of each reduction of the learning rate, with `schedule: step`."""
    label_smoothing: float = fraction()
    """Fraction of each training label that is spread evenly over all classes, against overconfidence and wrong labels.
    Validation and test use plain labels; probabilities come out lower (`evaluate.calibrate`). Useful: 0 to 0.1."""
    diverged_above: float = above(1)
    """Training loss at which the training is stopped as diverged, as a multiple of the loss of random guessing, or of
    the loss at its start if that is higher. It changes no result of a training that ends. Useful: 2 to 10."""
    early_stopping_patience: int | None = at_least(0)
    """Number of epochs without improvement of `monitor` after which training stops. It saves time; with a falling
    schedule it would cut the best part off. Null: no early stopping. Useful: 3 to 10."""
    monitor: str = one_of("val_loss", "val_accuracy")
    """Metric that selects the best epoch. val_loss also counts how sure predictions are, and is less noisy with few
    validation images; val_accuracy counts right classes only."""
    restore_best: bool
    """Keep the weights of the best epoch instead of the last one. false suits a falling schedule with very few
    validation images."""
    class_weight: Any = CLASS_WEIGHT
    """Weight of each class in the training loss. none: all 1. balanced: inverse to the class frequency.
    A mapping: weights of the given classes, 1 for all others. It raises the recall of rare classes, at the cost of
    frequent ones."""
    balanced_sampling: bool
    """Use the same number of images of each class per epoch. Images of small classes are repeated;
    for large classes, each epoch uses a different random sample. Use either this or `class_weight`."""


@dataclass(kw_only=True)
class TrainConfig(PhaseConfig):
    """Phase 1, feature extraction: a new head on the frozen backbone."""

    head: str = one_of("softmax", "ridge", "logistic")
    """Method that fits the head. softmax: gradient descent. ridge: least squares in closed form; logistic: L-BFGS.
    These two take all cached variants at once, and choose the L2 penalty by cross-validation on the training images;
    `class_weight` applies, other settings of the fit are ignored."""
    dropout: float = fraction()
    """Fraction of features that is dropped in each training step, against overfitting of the head. Useful: 0 to 0.5."""
    hidden_units: int = at_least(0)
    """Width of a hidden layer in the head, for classes that features do not separate by a plane; with few images it
    overfits. 0: no hidden layer. Useful: 0, or 128 to 1024."""
    l2: float = at_least(0)
    """L2 penalty on the head's kernels, against overfitting. Reported losses include it. Useful: 0, or 1e-5 to 1e-2."""
    label_issues: bool
    """List the images whose labels are most likely wrong, by cross-validation on the frozen backbone's features. It
    changes no training; false saves its time."""


@dataclass(kw_only=True)
class FinetuneConfig(PhaseConfig):
    """Phase 2, fine-tuning: training of the backbone, in part or as a whole."""

    unfreeze: int | str = limited(
        "an integer or a text that is not empty", {"type": ["integer", "string"], "minLength": 1}
    )
    """Start of the trainable part: name of a block or layer, index of a layer, number of blocks from the top (-2),
    all, or none. auto: all if `budget` allows it, else the upper part that `backbone.unfreeze` defines. More trainable
    layers fit images that differ from ImageNet better, and need more images and time."""
    budget: float = at_least(0)
    """Compute budget of `unfreeze: auto`, in 10^12 multiply-adds of the forward pass (images times epochs). Raise it on
    a GPU, where the whole backbone is affordable."""
    freeze_batch_norm: bool
    """Keep the statistics and weights of BatchNormalization layers as pretrained. false lets them adapt, which costs
    accuracy with small batches or few images."""
    rate_decay: float = positive_fraction()
    """Ratio of each block's learning rate to that of the block above it. Head and top block use the full rate. Below 1,
    lower blocks keep more of ImageNet. Useful: 0.7 to 1."""
    rate_factors: Any = RATE_FACTORS
    """Learning rates of named blocks as multiples of the phase's learning rate, instead of `rate_decay`. 0 freezes a
    block. Null: none."""
    dropout: float | None = fraction()
    """Fraction of features that is dropped before the classification layer in this phase, against overfitting. Null:
    that of phase 1. Useful: 0 to 0.5."""
    stochastic_depth: float | None = fraction()
    """Probability of skipping the topmost residual branch in a training step, which decreases linearly to 0 for lower
    branches. It helps in long trainings of large backbones. Null: the backbone's default. Useful: 0 to 0.3."""
    lora_rank: int | None = at_least(1)
    """Rank of low-rank updates (LoRA) of queries and values in the unfrozen blocks of a vision transformer. They are
    trained instead of the blocks' weights, which takes less memory, and are merged into the saved model. Null: the
    blocks' weights are trained. Useful: 4 to 16, with a higher `learning_rate`."""
    interpolate: Any = INNER_FRACTIONS
    """Positions on the line from a round's initial weights (0) to those of its kept epoch (1). The round ends with the
    weights at the position with the best validation accuracy, then loss; position 1 is always tried.
    It regains what few images cost a backbone. Null: no interpolation."""
    image_size: Any = SIZE_OR_NULL
    """Size of training images in pixels; validation and test use the top-level `image_size`. A smaller one saves time
    in proportion to the number of pixels. Null: the same size."""
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
    always float32. auto: the fastest precision on this device. float32 gives numbers that differ least between
    machines."""
    deterministic: bool
    """Make results exactly reproducible on the same machine, at some cost in speed. false: the last digits, and what
    follows from them, differ between runs."""
    strategy: str = one_of("one_device", "auto", "mirrored", "multi_worker")
    """Distribution of training. one_device: the first GPU, or else the CPU. mirrored: all GPUs of this machine, each
    with a part of every batch. auto: mirrored if there are several GPUs, which a job of a sweep does not have, and else
    one_device. multi_worker: all processes listed in TF_CONFIG, on one or more machines."""
    intra_op_threads: int | None = at_least(1)
    """Number of threads within an operation. It decides the last digits of results; set it to compare machines with
    different numbers of cores. Null: one per core."""
    inter_op_threads: int | None = at_least(1)
    """Number of operations that run in parallel. 1 suits many small jobs side by side. Null: one per core."""
    memory_growth: bool
    """Allocate GPU memory as needed instead of all at the start, so that other programs can use the GPU too."""
    jit_compile: bool
    """Compile the training step with XLA, which takes a while at the start. It needs `deterministic: false`, and does
    not work in float16 on several devices."""
    first_step_minutes: float | None = above(0)
    """Time limit in minutes of the first training step on several devices, which hangs if they can't communicate. The
    process then ends with a hint. Null: no limit."""
    frozen_batch_size: int | str = limited(
        "auto, or an integer >= 1", {"anyOf": [{"enum": ["auto"]}, {"type": "integer", "minimum": 1}]}
    )
    """Number of images per forward pass through the frozen layers: more use more memory, and are faster on GPUs. It is
    halved while the memory does not suffice. auto: 64 on a CPU; on a GPU 8 for each GiB of its memory, 64 to 512."""
    image_cache_gib: float = at_least(0)
    """Largest size in GiB of a split's decoded images in the cache. Larger splits are decoded again at every use, which
    is slower and gives the same results."""
    feature_cache_gib: float = at_least(0)
    """Largest size in GiB of a phase's features in the cache. Larger features are computed again in every epoch, which
    is much slower."""
