"""Training loop that both phases share."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig, HardwareConfig, PhaseConfig
from pipeline.inputs.augmentation import Mixing, Variants, mixes, varies
from pipeline.inputs.batches import ImageInputs, Inputs, Labels, Plan, balanced, batches, in_order, shuffled
from pipeline.models.feature_scale import unit_scale
from pipeline.models.parts import AtTwoSizes, FrozenBelow, Parts
from pipeline.system.terminal import progress
from pipeline.training import Row
from pipeline.training.callbacks import EarlyStoppingWithEma, EpochRecorder, EpochSeeds
from pipeline.training.checkpoint import EpochCheckpoint
from pipeline.training.class_weights import class_weights
from pipeline.training.enough_memory import enough_memory
from pipeline.training.features import TrainingData
from pipeline.training.first_step import first_step_limit
from pipeline.training.input_wait import InputWait, TimedInputs
from pipeline.training.optimizers import Rates, make_optimizer

log = logging.getLogger(__name__)

# Number of images whose features show the scale of all.
_EXAMPLES = 64


@dataclass(frozen=True)
class FitContext:
    """Settings and resources that all fits of a stage share."""

    seed: int
    augment: AugmentConfig
    hardware: HardwareConfig
    strategy: tf.distribute.Strategy
    """Distribution strategy in whose scope the classifier was built."""
    listener: Callable[[Row], None] = lambda _row: None
    """Function that is called with the metrics of each epoch."""
    checkpoints: Path | None = None
    """Folder of the checkpoints, from which an interrupted fit resumes; None disables checkpoints."""


@dataclass(frozen=True)
class PhaseFit:
    """Definition of one fit of a classifier's trainable part."""

    parts: Parts
    """Parts of the classifier, whose trainable weights are changed in place."""
    data: TrainingData
    phase: PhaseConfig
    """Settings of the phase, such as epochs, batch size, learning rate and early stopping."""
    epochs_before: int = 0
    """Number of epochs in earlier fits."""
    rate_factors: Mapping[int, float] = field(default_factory=dict)
    """Learning-rate factors by the variable's `id()`; see `pipeline.models.freezing.rate_factors`."""
    validation: tuple[Parts, TrainingData] | None = None
    """Parts and data for validation at another image size; None for validation at the same size."""


@dataclass(frozen=True)
class Fitted:
    """Result of a fit."""

    rows: list[Row]
    """Metrics of each epoch."""
    kept: Row
    """Metrics of the epoch whose weights the classifier has."""
    rates: np.ndarray
    """Learning rate of each batch, float64."""
    network: keras.Model
    """Compiled network that was fitted."""
    validation: tf.data.Dataset
    """Batches of validation images and labels, the same in each epoch."""


@dataclass(frozen=True)
class PhaseInputs:
    """Network of a fit at one image size, with its training and validation inputs."""

    training: Inputs
    validation: Inputs
    variants: int | None
    """Number of variants of each training image; None for a new variant in each epoch."""
    network: keras.Model
    mixed: bool
    """Whether training images are mixed by MixUp or CutMix."""


def fit_phase(task: PhaseFit, context: FitContext) -> Fitted:
    """Fit a classifier's trainable part; it ends with the weights of the best or the last epoch, as `task.phase` sets.

    Raises:
        DivergedError: The loss is not a number, or far above that at the start and that of guessing.
    """
    parts, data, phase = task.parts, task.data, task.phase
    inputs = make_inputs(parts, data, phase, context)
    network, validation = inputs.network, inputs.validation
    if task.validation is not None:
        at_size = make_inputs(*task.validation, phase, context)
        network, validation = AtTwoSizes(inputs.network, at_size.network), at_size.validation
    count, batch_size = len(data.train_indices), phase.batch_size
    epochs = range(task.epochs_before, task.epochs_before + phase.epochs)
    steps = math.ceil(count / batch_size)
    rates = Rates(phase, steps)
    weights = class_weights(phase, data.labels[data.train_indices], data.classes)
    _log_loss(phase, mixed=inputs.mixed, weighted=bool(weights))
    with (
        in_training(inputs, parts),
        context.strategy.scope(),
        progress(f"epoch {epochs.start + 1} of {epochs.stop}", phase.epochs * count) as advance,
    ):
        compile_network(network, task, rates, jit=context.hardware.jit_compile)
        loss_of_guessing = math.log(max(2, len(data.classes))) * max(weights.values() if weights else [1.0])
        recorder = EpochRecorder(
            advance,
            epochs,
            images=count,
            phase=phase,
            loss_of_guessing=loss_of_guessing + float(sum(network.losses)),
        )
        stopping = EarlyStoppingWithEma(phase)
        file = context.checkpoints / f"after_epoch_{task.epochs_before}.npz" if context.checkpoints else None
        checkpoint = EpochCheckpoint(file, parts.trainable, recorder=recorder, stopping=stopping, epochs=phase.epochs)
        done = checkpoint.restore(network)
        advance(done * count)
        for row in recorder.rows:
            context.listener(row)
        labels = Labels(data.labels[data.validation_indices], len(data.classes))
        validating = batches(validation, in_order(len(validation)), batch_size, labels=labels)
        first_step = first_step_limit(context.hardware.first_step_minutes, context.strategy)
        timed = TimedInputs(inputs.training)
        wait = InputWait(timed)
        with enough_memory(phase), first_step as limit:
            network.fit(
                training_batches(replace(inputs, training=timed), task, context, epochs[done:] or epochs[-1:]),
                steps_per_epoch=steps,
                validation_data=validating,
                epochs=phase.epochs,
                initial_epoch=done,
                class_weight=weights,
                # The order of the callbacks matters: an epoch is recorded, compared, saved, and then reported.
                callbacks=[
                    wait,
                    EpochSeeds(context.seed, epochs.start),
                    recorder,
                    stopping,
                    checkpoint,
                    keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: context.listener(recorder.rows[-1])),
                    *limit,
                ],
                shuffle=False,
                verbose=0,
            )
    rows = recorder.rows
    kept = rows[stopping.best_epoch] if phase.restore_best else rows[-1]
    _log_kept(kept, phase)
    if wait.fraction is not None:
        log.info("training steps waited for images or features in %.0f %% of their time", 100 * wait.fraction)
    return Fitted(rows, kept, rates.of(len(rows) * steps), network, validating)


def _log_kept(kept: Row, phase: PhaseConfig) -> None:
    best = "lowest" if phase.monitor == "val_loss" else "highest"
    rule = f"the {best} {phase.monitor}, {kept[phase.monitor]:.4g}" if phase.restore_best else "the last one"
    log.info("kept the weights of epoch %d: %s (restore_best=%s)", kept["epoch"], rule, str(phase.restore_best).lower())


def _log_loss(phase: PhaseConfig, *, mixed: bool, weighted: bool) -> None:
    """Log in what the training loss differs from the validation loss, which is the plain cross-entropy."""
    reasons = {
        f"label smoothing {phase.label_smoothing:g}": phase.label_smoothing > 0,
        "mixed labels": mixed,
        "class weights": weighted,
    }
    if parts := [name for name, applies in reasons.items() if applies]:
        log.info("loss is not comparable with val_loss: it is the loss of training, with %s", ", ".join(parts))


def make_inputs(parts: Parts, data: TrainingData, phase: PhaseConfig, context: FitContext) -> PhaseInputs:
    """Create the inputs of a phase, which are cached features if they fit the budget, otherwise images."""
    augment, features = context.augment, data.features
    variants = Variants(augment, len(data.train_indices), data.images.size, context.seed)
    # Number of variants of each training image in this phase, including the unchanged image, and number of all inputs.
    count = min(augment.views + 1, phase.epochs)
    seen = len(data.images) + (count - 1) * len(data.train_indices)
    # MixUp and CutMix are used only if convolutions are trained, not for the head alone.
    mixed = mixes(augment) and parts.upper is not None
    if mixes(augment) and not mixed:
        log.info("augment.mixup and cutmix are ignored while only the head is trained")
    if mixed or not features.fits(parts.frozen, seen, warn=True):
        # Features that are too large for the cache are computed from the same variants as cached ones.
        number = (None if varies(augment) else 1) if mixed or parts.frozen.empty else count
        return PhaseInputs(
            ImageInputs(data.images, data.train_indices, variants),
            ImageInputs(data.images, data.validation_indices, [None]),
            number,
            FrozenBelow(parts.frozen, parts.trainable),
            mixed,
        )
    intermediate = parts.intermediate if parts.intermediate and features.fits(parts.intermediate, seen) else None
    training = features.load(
        parts.frozen, data.train_indices, variants=variants, variant_count=count, intermediate=intermediate
    )
    validation = features.load(parts.frozen, data.validation_indices)
    return PhaseInputs(training, validation, count, parts.trainable, mixed)


@contextmanager
def in_training(inputs: PhaseInputs, parts: Parts) -> Iterator[None]:
    """Let a phase's layers compute as in training within a block: in their arithmetic, a head on scaled features."""
    with (
        parts.in_their_arithmetic(),
        nullcontext() if parts.upper else unit_scale(parts.trainable, _example(inputs, parts)),
    ):
        yield


def _example(inputs: PhaseInputs, parts: Parts) -> np.ndarray:
    """Return features of a few training images, from the whole training set."""
    count = len(inputs.training)
    chosen = np.unique(np.linspace(0, count - 1, _EXAMPLES).round().astype(np.int64))
    batch = inputs.training.take(chosen, np.zeros(len(chosen), np.int64))
    return batch if inputs.network is parts.trainable else parts.frozen.from_pixels(tf.constant(batch)).numpy()


def training_batches(inputs: PhaseInputs, task: PhaseFit, context: FitContext, epochs: range) -> tf.data.Dataset:
    """Create the training batches of a phase's epochs, with label smoothing and mixing as configured."""
    data, phase, seed = task.data, task.phase, context.seed
    labels = data.labels[data.train_indices]
    plan = (
        balanced(labels, inputs.variants, seed)
        if phase.balanced_sampling
        else shuffled(len(labels), inputs.variants, seed)
    )
    if inputs.mixed:
        _warn_of_lonely_classes(plan, labels, phase.batch_size, epochs.start)
    mixing = Mixing(context.augment, seed) if inputs.mixed else None
    targets = Labels(labels, len(data.classes), smoothing=phase.label_smoothing, mixing=mixing)
    return batches(inputs.training, plan, phase.batch_size, epochs=epochs, labels=targets)


def _warn_of_lonely_classes(plan: Plan, labels: np.ndarray, batch_size: int, epoch: int) -> None:
    order = labels[plan(epoch)[0]]
    parts = np.split(order, range(batch_size, len(order), batch_size))
    alone = sum(len(np.unique(part)) == 1 for part in parts)
    if alone:
        log.warning(
            "augment.mixup, cutmix: %d of %d batches of the first epoch contain only one class, so that mixing does not "
            "change their labels; raise finetune.batch_size, or set finetune.balanced_sampling=true", alone, len(parts),
        )  # fmt: skip


def compile_network(
    network: keras.Model, task: PhaseFit, rates: keras.optimizers.schedules.LearningRateSchedule, *, jit: bool
) -> None:
    """Compile a network for a fit, in place; call it in the scope of the distribution strategy.

    Args:
        network: Network to compile.
        task: Definition of the fit, with optimizer, learning-rate factors and precision, which decides on loss scaling.
        rates: Learning rate by step.
        jit: Whether to compile the training step with XLA.
    """
    scaling, variables = task.parts.arithmetic.policy == "mixed_float16", network.trainable_variables
    network.compile(
        optimizer=make_optimizer(task.phase, rates, variables, rate_factors=task.rate_factors, loss_scaling=scaling),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=jit,
    )
