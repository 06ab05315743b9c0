"""The fit loop that both phases share."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import AugmentConfig, HardwareConfig, PhaseConfig
from pipeline.inputs.batches import Inputs, Plan, balanced, batches, in_order, shuffled
from pipeline.inputs.mixup import Softening
from pipeline.models.parts import AtTwoSizes, FrozenBelow, Parts
from pipeline.system.terminal import progress
from pipeline.training.callbacks import EarlyStoppingWithEma, EpochRecorder, EpochSeeds
from pipeline.training.checkpoint import EpochCheckpoint
from pipeline.training.data import TrainingData, class_weights, variants_seen
from pipeline.training.history import Row
from pipeline.training.optimizers import Rates, make_optimizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitContext:
    """What all fits of a stage share."""

    seed: int
    augment: AugmentConfig
    hardware: HardwareConfig
    strategy: tf.distribute.Strategy
    """In whose scope the classifier was built."""
    listener: Callable[[Row], None] = lambda row: None
    """Called with each epoch's figures."""
    checkpoints: Path | None = None
    """Folder of what it takes to resume, and from which a fit resumes; None: nothing is kept."""


@dataclass(frozen=True)
class PhaseFit:
    """One fit: a classifier's trainable part, on the features that its frozen part computes of the training images."""

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
    """The same at the size that is validated at, where that is another one."""


@dataclass(frozen=True)
class Fitted:
    """Result of a fit."""

    rows: list[Row]
    """One an epoch."""
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
    """A classifier as a fit sees it at one size: its inputs, and the network that takes them."""

    training: Inputs
    validation: Inputs
    views: int | None
    """Variants of each training image; None: a new one each epoch."""
    network: keras.Model


def fit_phase(task: PhaseFit, context: FitContext) -> Fitted:
    """Fit, watching the validation images.

    Raises:
        DivergedError: the loss is no longer a number, or far above that of guessing.
    """
    parts, data, phase = task.parts, task.data, task.phase
    inputs = make_inputs(parts, data, phase, context.augment)
    network, validation = inputs.network, inputs.validation
    if task.validation is not None:
        whole = make_inputs(*task.validation, phase, context.augment)
        network, validation = AtTwoSizes(inputs.network, whole.network), whole.validation
    count, batch_size = len(data.train_indices), phase.batch_size
    epochs = range(task.epochs_before, task.epochs_before + phase.epochs)
    labels, steps = data.labels[data.train_indices], math.ceil(count / batch_size)
    rates, weights = Rates(phase, steps), class_weights(phase.class_weight, labels, data.classes)
    stopping = EarlyStoppingWithEma(phase)
    with parts.in_their_arithmetic(), context.strategy.scope(), progress("epoch 1", phase.epochs * count) as advance:
        compile_network(network, parts, phase, rates, rate_factors=task.rate_factors, jit=context.hardware.jit_compile)
        guessing = math.log(max(2, data.class_count)) * max(weights.values() if weights else [1.0])
        limit = phase.diverged_above * (guessing + float(sum(network.losses)))
        recorder = EpochRecorder(advance, epochs, images=count, batch_size=batch_size, diverged_above=limit)
        file = context.checkpoints / f"after_epoch_{task.epochs_before}.npz" if context.checkpoints else None
        checkpoint = EpochCheckpoint(file, parts.trainable, recorder, stopping, phase.epochs, context.listener)
        done = checkpoint.restore(network)
        advance(done * count)
        validating = batches(
            validation,
            data.labels[data.validation_indices],
            data.class_count,
            batch_size,
            in_order(len(data.validation_indices)),
        )
        network.fit(
            training_batches(inputs, task, context, epochs[done:] or epochs[-1:]),
            steps_per_epoch=steps,
            validation_data=validating,
            epochs=phase.epochs,
            initial_epoch=done,
            class_weight=weights,
            callbacks=[EpochSeeds(context.seed, epochs.start), recorder, stopping, checkpoint],
            shuffle=False,
            verbose=0,
        )
    rows = recorder.rows
    kept = rows[stopping.best_epoch] if phase.restore_best else rows[-1]
    return Fitted(rows, kept, rates.of(len(rows) * steps), network, validating)


def make_inputs(parts: Parts, data: TrainingData, phase: PhaseConfig, augment: AugmentConfig) -> PhaseInputs:
    """Inputs of a phase: cached features where they can serve, else the images themselves."""
    features = data.features
    views, seen = variants_seen(augment, phase), data.images_seen(augment, phase)
    mixing = mixes(parts, augment)
    if mixing or not features.fits(parts.frozen, seen):
        if not mixing:
            features.warn_if_too_large(parts.frozen, seen)
        network = FrozenBelow(parts.frozen, parts.trainable)
        # What is too large to be kept is given in the same variants as if it were.
        endless = (parts.frozen.empty or mixing) and augment.varies
        views = None if endless else 1 if mixing or parts.frozen.empty else views
        return PhaseInputs(
            features.images(data.train_indices), features.images(data.validation_indices), views, network
        )
    intermediate = parts.intermediate if parts.intermediate and features.fits(parts.intermediate, seen) else None
    training = features.features(parts.frozen, data.train_indices, views, "frozen part", intermediate)
    validation = features.features(parts.frozen, data.validation_indices, 1, "frozen part")
    return PhaseInputs(training, validation, views, parts.trainable)


def mixes(parts: Parts, augment: AugmentConfig) -> bool:
    """Whether images are mixed in this phase: MixUp and CutMix are for convolutions, not for a head alone."""
    if augment.mixes and parts.upper is None:
        log.info("augment.mixup and cutmix are ignored while only the head is trained")
    return augment.mixes and parts.upper is not None


def training_batches(inputs: PhaseInputs, task: PhaseFit, context: FitContext, epochs: range) -> tf.data.Dataset:
    """The batches of all epochs of a phase, with the labels to learn."""
    data, phase, seed = task.data, task.phase, context.seed
    labels = data.labels[data.train_indices]
    plan = (
        balanced(labels, inputs.views, seed) if phase.balanced_sampling else shuffled(len(labels), inputs.views, seed)
    )
    mixing = context.augment if context.augment.mixes and task.parts.upper is not None else None
    if mixing:
        _warn_of_lonely_classes(plan, labels, phase.batch_size, epochs.start)
    soften = Softening(mixing, phase.label_smoothing, seed)
    return batches(inputs.training, labels, data.class_count, phase.batch_size, plan, epochs=epochs, soften=soften)


def _warn_of_lonely_classes(plan: Plan, labels: np.ndarray, batch_size: int, epoch: int) -> None:
    order = labels[plan(epoch)[0]]
    parts = np.split(order, range(batch_size, len(order), batch_size))
    alone = sum(len(np.unique(part)) == 1 for part in parts)
    if alone:
        log.warning(
            "augment.mixup, cutmix: %d of %d batches of the first epoch hold one class only, whose labels mixing does not change; "
            "raise finetune.batch_size, or set finetune.balanced_sampling=true", alone, len(parts),
        )  # fmt: skip


def compile_network(
    network: keras.Model,
    parts: Parts,
    phase: PhaseConfig,
    rates: keras.optimizers.schedules.LearningRateSchedule,
    *,
    rate_factors: Mapping[int, float],
    jit: bool,
) -> None:
    """Compile a network for a phase, in place; within the strategy's scope."""
    variables = network.trainable_variables
    loss_scaling = parts.arithmetic.policy == "mixed_float16"
    network.compile(
        optimizer=make_optimizer(phase, rates, variables, rate_factors, loss_scaling=loss_scaling),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=jit,
    )
