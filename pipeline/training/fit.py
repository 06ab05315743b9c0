"""The fit loop that both phases share."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import Config, PhaseConfig
from pipeline.finetuning.selection import best_place
from pipeline.inputs.batches import Inputs, Plan, balanced, batches, in_order, shuffled
from pipeline.inputs.mixup import Softening
from pipeline.models.parts import AtTwoSizes, FrozenBelow, Parts
from pipeline.storage.cache import Cache
from pipeline.system.terminal import progress
from pipeline.training.callbacks import EarlyStoppingWithEma, EpochRecorder, EpochSeeds
from pipeline.training.checkpoint import EpochCheckpoint
from pipeline.training.data import TrainingData, class_weights, variants_seen
from pipeline.training.features import FeatureCache
from pipeline.training.history import Row
from pipeline.training.optimizers import Rates, make_optimizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """What a phase's fit gave."""

    rows: list[Row]
    kept: Row
    """The row of the epoch whose weights were kept; its validation figures are of what the model now has: the weights at `share` of the way
    from the first ones to the epoch's."""
    rates: np.ndarray
    """The learning rate of each batch, float64."""


@dataclass(frozen=True)
class PhaseInputs:
    """A classifier as a fit sees it at one size: what it is fed, and the network that takes that."""

    training: Inputs
    validation: Inputs
    views: int | None
    """Versions of each training image; None: a new one each epoch."""
    network: keras.Model


def fit_phase(
    parts: Parts,
    data: TrainingData,
    config: Config,
    phase: PhaseConfig,
    strategy: tf.distribute.Strategy,
    cache: Cache,
    report: Callable[[Row], None],
    epochs_before: int = 0,
    factors: Mapping[int, float] | None = None,
    validated: tuple[Parts, TrainingData] | None = None,
    shares: Sequence[float] = (),
    backup: Path | None = None,
) -> Fitted:
    """Train the trainable part on what the frozen part makes of the training images, watching the validation images.

    Args:
        parts: the classifier; its trainable weights are changed in place.
        data: images and labels.
        config: seed, augmentation and hardware.
        phase: epochs, batch size, rates, and when to stop.
        strategy: in whose scope the classifier was built.
        cache: where frozen work is kept.
        report: called with each epoch's row.
        epochs_before: epochs of the phases before this one.
        factors: what learns at a share of the rate; see `pipeline.models.freezing.rate_factors`.
        validated: the same at the size that is validated at, where that is another one.
        shares: where between the first weights and the kept epoch's others are tried; see `pipeline.finetuning.selection`.
        backup: a folder for what it takes to go on after being cut off, and from which it goes on; None: nothing is kept.

    Raises:
        DivergedError: the loss is no longer a number, or far above that of guessing.
    """
    fed = feed(parts, data, config, phase, cache)
    network, validation = fed.network, fed.validation
    if validated is not None:
        whole = feed(*validated, config, phase, cache)
        network, validation = AtTwoSizes(fed.network, whole.network), whole.validation
    count, batch_size = len(data.training), phase.batch_size
    epochs = range(epochs_before, epochs_before + phase.epochs)
    labels, steps = data.labels[data.training], math.ceil(count / batch_size)
    rates, weights = Rates(phase, steps), class_weights(phase.class_weight, labels, data.classes)
    keeping = EarlyStoppingWithEma(phase)
    with parts.in_their_arithmetic(), strategy.scope(), progress("epoch 1", phase.epochs * count) as advance:
        compiled(network, parts, phase, rates, factors or {}, config.hardware.jit_compile)
        guessing = math.log(max(2, data.class_count)) * max(weights.values() if weights else [1.0])
        limit = phase.diverged_above * (guessing + float(sum(network.losses)))
        recorder = EpochRecorder(advance, epochs, count, batch_size, limit)
        state_file = backup / f"after_epoch_{epochs_before}.npz" if backup else None
        resuming = EpochCheckpoint(state_file, parts.trainable, recorder, keeping, phase.epochs, report)
        start = parts.trainable.get_weights() if shares else []
        done = resuming.restore(network)
        advance(done * count)
        validating = batches(
            validation, data.labels[data.validation], data.class_count, batch_size, in_order(len(data.validation))
        )
        network.fit(
            training_batches(fed, data, config, phase, parts, epochs[done:] or epochs[-1:]),
            steps_per_epoch=steps,
            validation_data=validating,
            epochs=phase.epochs,
            initial_epoch=done,
            class_weight=weights,
            callbacks=[EpochSeeds(config.seed, epochs.start), recorder, keeping, resuming],
            shuffle=False,
            verbose=0,
        )
        rows = recorder.rows
        kept = rows[keeping.best_epoch] if phase.restore_best else rows[-1]
        kept = kept | {"share": 1}
        if shares:
            kept |= best_place(
                network, parts.trainable, start, kept, shares, validating, lambda note: advance(0, note=note)
            )
    return Fitted(rows, kept, rates.of(len(rows) * steps))


def feed(parts: Parts, data: TrainingData, config: Config, phase: PhaseConfig, cache: Cache) -> PhaseInputs:
    """What a phase learns from: frozen work by way of the cache, where that can serve, else the images themselves."""
    feature_cache = FeatureCache(data.images, config, cache)
    views, shown = variants_seen(config, phase), data.shown(config, phase)
    mixed = learns_from_mixed(parts, config)
    if mixed or not feature_cache.fits_budget(parts.frozen, shown):
        network = FrozenBelow(parts.frozen, parts.trainable)
        # What is too large to be kept is given in the same views as if it were.
        endless = (parts.frozen.empty or mixed) and config.augment.varies
        views = None if endless else 1 if mixed or parts.frozen.empty else views
        return PhaseInputs(feature_cache.images(data.training), feature_cache.images(data.validation), views, network)
    intermediate = (
        parts.intermediate if parts.intermediate and feature_cache.fits_budget(parts.intermediate, shown) else None
    )
    training = feature_cache.kept(parts.frozen, data.training, views, "frozen part", intermediate)
    return PhaseInputs(
        training, feature_cache.kept(parts.frozen, data.validation, 1, "frozen part"), views, parts.trainable
    )


def learns_from_mixed(parts: Parts, config: Config) -> bool:
    """Whether images are mixed for this training: not where only a head learns, since mixing is to be seen by convolutions."""
    if config.augment.mixes and parts.upper is None:
        log.info("augment.mixup and cutmix mix pixels: they act where convolutions learn, not on a head alone")
    return config.augment.mixes and parts.upper is not None


def training_batches(
    fed: PhaseInputs, data: TrainingData, config: Config, phase: PhaseConfig, parts: Parts, epochs: range
) -> tf.data.Dataset:
    """The batches of all epochs of a phase, with the labels that it learns from."""
    labels, seed = data.labels[data.training], config.seed
    plan = balanced(labels, fed.views, seed) if phase.balanced_sampling else shuffled(len(labels), fed.views, seed)
    mixing = config.augment if config.augment.mixes and parts.upper is not None else None
    if mixing:
        _warn_of_lonely_classes(plan, labels, phase.batch_size, epochs.start)
    soften = Softening(mixing, phase.label_smoothing, seed)
    return batches(fed.training, labels, data.class_count, phase.batch_size, plan, epochs, soften)


def _warn_of_lonely_classes(plan: Plan, labels: np.ndarray, batch_size: int, epoch: int) -> None:
    order = labels[plan(epoch)[0]]
    parts = np.split(order, range(batch_size, len(order), batch_size))
    alone = sum(len(np.unique(part)) == 1 for part in parts)
    if alone:
        log.warning(
            "augment.mixup, cutmix: %d of %d batches of the first epoch hold one class only, whose labels mixing leaves as they are; "
            "raise finetune.batch_size, or set finetune.balanced_sampling=true", alone, len(parts),
        )  # fmt: skip


def compiled(
    network: keras.Model, parts: Parts, phase: PhaseConfig, rates: Rates, factors: Mapping[int, float], jit: bool
) -> None:
    """Compile a network for a phase, in place; within the strategy's scope."""
    variables = network.trainable_variables
    network.compile(
        optimizer=make_optimizer(phase, rates, variables, factors, parts.arithmetic.policy == "mixed_float16"),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=jit,
    )
