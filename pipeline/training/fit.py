"""The fit loop that both phases share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.cache import Cache
from pipeline.config import Config, PhaseConfig
from pipeline.data.batches import balanced, batches, in_order, shuffled
from pipeline.features import FrozenBelow, FrozenWork
from pipeline.imbalance import class_weights
from pipeline.models.parts import Parts
from pipeline.terminal import progress
from pipeline.training.data import TrainingData, views_seen
from pipeline.training.epochs import EpochRecorder, Row
from pipeline.training.resuming import Resuming


@dataclass(frozen=True)
class Fitted:
    """What a phase's fit gave."""

    rows: list[Row]
    kept: Row
    """The row of the epoch whose weights the model now has."""

    def summary(self, trainable: keras.Model, model: keras.Model) -> dict[str, float]:
        """The figures of the epoch that was kept, and what was trained of the whole model, in parameters."""
        return {
            "epochs": len(self.rows),
            "kept_epoch": self.kept["epoch"],
            **{name: self.kept[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")},
            "trainable_parameters": int(sum(np.prod(weight.shape) for weight in trainable.trainable_weights)),
            "parameters": model.count_params(),
        }


def fit_phase(
    parts: Parts,
    data: TrainingData,
    config: Config,
    phase: PhaseConfig,
    schedule: float | keras.optimizers.schedules.LearningRateSchedule,
    strategy: tf.distribute.Strategy,
    cache: Cache,
    report: Callable[[Row], None],
    epochs_before: int = 0,
    backup: Path | None = None,
) -> Fitted:
    """Train the trainable part on what the frozen part makes of the training pictures, watching the validation pictures.

    Args:
        parts: the classifier; its trainable weights are changed in place.
        data: pictures and labels.
        config: seed, augmentation and hardware.
        phase: epochs, batch size and when to stop.
        schedule: the learning rate, constant or by step.
        strategy: in whose scope the classifier was built.
        cache: where frozen work is kept.
        report: called with each epoch's row.
        epochs_before: epochs of the phase before this one.
        backup: a folder for what it takes to go on after being cut off, and from which it goes on; None: nothing is kept.

    Raises:
        PipelineError: the loss is no longer a number.
    """
    views, all_views = views_seen(config, phase), data.shown(config, phase)
    frozen_work = FrozenWork(data.pictures, config, cache)
    keep = frozen_work.worth_keeping(parts.frozen, all_views)
    if keep:
        waypoint = parts.waypoint if parts.waypoint and frozen_work.worth_keeping(parts.waypoint, all_views) else None
        training = frozen_work.kept(parts.frozen, data.training, views, "frozen part", waypoint)
        validation = frozen_work.kept(parts.frozen, data.validation, 1, "frozen part")
    else:
        training = frozen_work.pictures(data.training, views)
        validation = frozen_work.pictures(data.validation, 1)
    count, batch_size = len(data.training), phase.batch_size
    epochs = range(epochs_before, epochs_before + phase.epochs)
    stopping = keras.callbacks.EarlyStopping(
        monitor=phase.monitor,
        mode="min" if phase.monitor == "val_loss" else "max",
        patience=phase.epochs if phase.early_stopping_patience is None else phase.early_stopping_patience,
        restore_best_weights=phase.restore_best,
    )
    with parts.in_their_arithmetic(), strategy.scope(), progress("epoch 1", phase.epochs * count) as advance:
        network = parts.trainable if keep else FrozenBelow(parts.frozen, parts.trainable)
        optimizer = keras.optimizers.Adam(schedule)
        if parts.policy == "mixed_float16":
            # Its smallest numbers are not small enough for gradients.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        network.compile(
            optimizer=optimizer,
            loss=keras.losses.CategoricalCrossentropy(),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=config.hardware.jit_compile,
        )
        recorder = EpochRecorder(advance, epochs, count, batch_size)
        state_file = backup / f"after_epoch_{epochs_before}.npz" if backup else None
        resuming = Resuming(state_file, parts.trainable, recorder, stopping, phase.epochs, report)
        done = resuming.restore(network)
        advance(done * count)
        labels = data.labels[data.training]
        plan = balanced(labels, views, config.seed) if phase.balanced_sampling else shuffled(count, views, config.seed)
        network.fit(
            batches(training, labels, data.class_count, batch_size, plan, epochs[done:] or epochs[-1:]),
            steps_per_epoch=math.ceil(count / batch_size),
            validation_data=batches(
                validation, data.labels[data.validation], data.class_count, batch_size, in_order(len(data.validation))
            ),
            epochs=phase.epochs,
            initial_epoch=done,
            class_weight=class_weights(phase.class_weight, labels, data.classes),
            callbacks=[recorder, stopping, resuming],
            shuffle=False,
            verbose=0,
        )
    rows = recorder.rows
    return Fitted(rows, rows[stopping.best_epoch] if phase.restore_best else rows[-1])
