"""The fit loop that both phases share."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from pipeline.config import AugmentConfig, FinetuneConfig, HardwareConfig, PhaseConfig
from pipeline.inputs.augmentation import Mixing, Variants, mixes, varies
from pipeline.inputs.batches import ImageInputs, Inputs, Labels, Plan, balanced, batches, in_order, shuffled
from pipeline.models.parts import AtTwoSizes, FrozenBelow, Parts
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import progress
from pipeline.training import Row
from pipeline.training.callbacks import EarlyStoppingWithEma, EpochRecorder, EpochSeeds
from pipeline.training.checkpoint import EpochCheckpoint
from pipeline.training.features import TrainingData
from pipeline.training.optimizers import Rates, make_optimizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitContext:
    """Context that all fits of a stage share."""

    seed: int
    augment: AugmentConfig
    hardware: HardwareConfig
    strategy: tf.distribute.Strategy
    """In whose scope the classifier was built."""
    listener: Callable[[Row], None] = lambda _row: None
    """Called with each epoch's figures."""
    checkpoints: Path | None = None
    """Folder of the checkpoints, from which a fit resumes; None: none are written."""


@dataclass(frozen=True)
class PhaseFit:
    """One fit: of a classifier's trainable part, on the features that its frozen part computes."""

    parts: Parts
    """The classifier; its trainable weights are changed in place."""
    data: TrainingData
    phase: PhaseConfig
    """Epochs, batch size, rates, and when to stop."""
    epochs_before: int = 0
    """Epochs of the fits before this one."""
    rate_factors: Mapping[int, float] = field(default_factory=dict)
    """Factors on the learning rate by the variable's id; see `pipeline.models.freezing.rate_factors`."""
    validation: tuple[Parts, TrainingData] | None = None
    """Parts and data at the size that is validated at; None: the same size."""


@dataclass(frozen=True)
class Fitted:
    """Result of a fit."""

    rows: list[Row]
    """One for each epoch."""
    kept: Row
    """The row of the epoch whose weights were kept."""
    rates: np.ndarray
    """The learning rate of each batch, float64."""
    network: keras.Model
    """As it was fitted, compiled."""
    validation: tf.data.Dataset
    """Batches of validation images and labels, the same each time."""


@dataclass(frozen=True)
class PhaseInputs:
    """A classifier as a fit sees it at one size: a network and its inputs."""

    training: Inputs
    validation: Inputs
    variants: int | None
    """Number of variants of each training image; None: a new one in each epoch."""
    network: keras.Model
    mixed: bool
    """Whether training images are mixed with one another."""


def fit_phase(task: PhaseFit, context: FitContext) -> Fitted:
    """Fit a classifier's trainable part, and keep the weights of the epoch that `task.phase` asks for.

    Raises:
        DivergedError: the loss is not a number, or far above that of guessing.
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
    with parts.in_their_arithmetic(), context.strategy.scope(), progress("epoch 1", phase.epochs * count) as advance:
        compile_network(network, task, rates, jit=context.hardware.jit_compile)
        loss_of_guessing = math.log(max(2, len(data.classes))) * max(weights.values() if weights else [1.0])
        limit = phase.diverged_above * (loss_of_guessing + float(sum(network.losses)))
        recorder = EpochRecorder(advance, epochs, images=count, batch_size=batch_size, diverged_above=limit)
        stopping = EarlyStoppingWithEma(phase)
        file = context.checkpoints / f"after_epoch_{task.epochs_before}.npz" if context.checkpoints else None
        checkpoint = EpochCheckpoint(file, parts.trainable, recorder=recorder, stopping=stopping, epochs=phase.epochs)
        done = checkpoint.restore(network)
        advance(done * count)
        for row in recorder.rows:
            context.listener(row)
        labels = Labels(data.labels[data.validation_indices], len(data.classes))
        validating = batches(validation, in_order(len(validation)), batch_size, labels=labels)
        network.fit(
            training_batches(inputs, task, context, epochs[done:] or epochs[-1:]),
            steps_per_epoch=steps,
            validation_data=validating,
            epochs=phase.epochs,
            initial_epoch=done,
            class_weight=weights,
            # In this order: an epoch is recorded, compared, written, and then reported.
            callbacks=[
                EpochSeeds(context.seed, epochs.start),
                recorder,
                stopping,
                checkpoint,
                keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: context.listener(recorder.rows[-1])),
            ],
            shuffle=False,
            verbose=0,
        )
    rows = recorder.rows
    kept = rows[stopping.best_epoch] if phase.restore_best else rows[-1]
    return Fitted(rows, kept, rates.of(len(rows) * steps), network, validating)


def make_inputs(parts: Parts, data: TrainingData, phase: PhaseConfig, context: FitContext) -> PhaseInputs:
    """Make the inputs of a phase: cached features where they fit, else the images themselves."""
    augment, features = context.augment, data.features
    variants = Variants(augment, len(data.train_indices), data.images.size, context.seed)
    # Variants of each training image that the phase sees, the plain one included; and all images, each variant as one.
    count = min(augment.views + 1, phase.epochs)
    seen = len(data.images) + (count - 1) * len(data.train_indices)
    # MixUp and CutMix are for convolutions, not for a head alone.
    mixed = mixes(augment) and parts.upper is not None
    if mixes(augment) and not mixed:
        log.info("augment.mixup and cutmix are ignored while only the head is trained")
    if mixed or not features.fits(parts.frozen, seen, warn=True):
        # Features that are too large to be cached are of the same variants as if they were.
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


def training_batches(inputs: PhaseInputs, task: PhaseFit, context: FitContext, epochs: range) -> tf.data.Dataset:
    """Make the batches of all epochs of a phase, with labels softened as the phase asks for."""
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
            "augment.mixup, cutmix: %d of %d batches of the first epoch hold one class only, whose labels mixing does "
            "not change; raise finetune.batch_size, or set finetune.balanced_sampling=true", alone, len(parts),
        )  # fmt: skip


def class_weights(phase: PhaseConfig, labels: np.ndarray, classes: Sequence[str]) -> dict[int, float] | None:
    """Return the weight in the loss of each class's images, by class index; None: all count alike.

    Args:
        phase: has `class_weight`. balanced: inversely proportional to the class's frequency, 1 on average over the
            images. By class name: 1 where a class is not named.
        labels: class indices of the training images, int [n].
        classes: their names.

    Raises:
        PipelineError: a weight is for an unknown class.
    """
    if phase.class_weight == "none":
        return None
    if phase.class_weight == "balanced":
        present = np.unique(labels)
        weights = compute_class_weight("balanced", classes=present, y=labels)
        return dict(zip(present.tolist(), weights.tolist(), strict=True))
    # YAML reads a class called 1 as a number.
    by_name = {str(name): float(weight) for name, weight in phase.class_weight.items()}
    unknown = [repr(name) for name in by_name if name not in classes]
    if unknown:
        section = "finetune" if isinstance(phase, FinetuneConfig) else "train"
        raise PipelineError(
            f"{section}.class_weight: unknown class {', '.join(unknown)}; the classes are "
            f"{', '.join(map(repr, classes))}"
        )
    return {index: by_name.get(name, 1.0) for index, name in enumerate(classes)}


def compile_network(
    network: keras.Model, task: PhaseFit, rates: keras.optimizers.schedules.LearningRateSchedule, *, jit: bool
) -> None:
    """Compile a network for a fit, in place; within the strategy's scope.

    Args:
        network: to compile.
        task: which optimizer, with which factors on the rate, and the arithmetic, which decides on loss scaling.
        rates: the learning rate by step.
        jit: whether XLA compiles the training step.
    """
    scaling, variables = task.parts.arithmetic.policy == "mixed_float16", network.trainable_variables
    network.compile(
        optimizer=make_optimizer(task.phase, rates, variables, rate_factors=task.rate_factors, loss_scaling=scaling),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=jit,
    )
