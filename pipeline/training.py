"""The fit loop that both phases share."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from pipeline.cache import Cache
from pipeline.config import Config, FinetuneConfig, PhaseConfig
from pipeline.data.batches import balanced, batches, in_order, shuffled
from pipeline.data.listing import pictures_folder
from pipeline.data.manifest import Manifest, class_indices
from pipeline.data.pictures import Pictures
from pipeline.errors import PipelineError
from pipeline.features import FrozenBelow, FrozenWork
from pipeline.imbalance import class_weights
from pipeline.interruption import interrupted
from pipeline.models.parts import Parts
from pipeline.terminal import progress

log = logging.getLogger(__name__)

Row = dict[str, float]
"""An epoch: `epoch` (counted over both phases, from 1), `learning_rate`, `loss`, `accuracy`, `val_loss`, `val_accuracy`."""


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


@dataclass(frozen=True)
class TrainingData:
    """The pictures that may be learned from and chosen by, decoded."""

    pictures: Pictures
    """Training and validation pictures, in manifest order: one set, whichever way a seed divides it."""
    training: np.ndarray
    """Places of the training pictures among them, int64 [n]."""
    validation: np.ndarray
    """Places of the validation pictures."""
    labels: np.ndarray
    """Index of each picture's class, int64."""
    classes: list[str]
    """Their names."""

    @property
    def class_count(self) -> int:
        return len(self.classes)

    def shown(self, config: Config, phase: PhaseConfig) -> int:
        """How many pictures a phase sees, each view of a training picture counted."""
        return len(self.pictures) + (views_seen(config, phase) - 1) * len(self.training)


def views_seen(config: Config, phase: PhaseConfig) -> int:
    """In how many views a phase sees each training picture, the plain one counted."""
    return min(config.augment.views + 1, phase.epochs)


def training_data(manifest: Manifest, config: Config, cache: Cache) -> TrainingData:
    """The training and validation pictures of a manifest."""
    rows = manifest.split("train", "validation")
    pictures = Pictures(
        pictures_folder(config.dataset), rows, config.image_size, cache, config.hardware.picture_cache_gib, "decoding"
    )
    places = [np.flatnonzero(rows["split"] == split) for split in ("train", "validation")]
    return TrainingData(pictures, *places, class_indices(rows, manifest.classes), manifest.classes)


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
        recorder = _Recorder(report, advance, epochs, count, batch_size)
        labels = data.labels[data.training]
        plan = balanced(labels, views, config.seed) if phase.balanced_sampling else shuffled(count, views, config.seed)
        network.fit(
            batches(training, labels, data.class_count, batch_size, plan, epochs),
            steps_per_epoch=math.ceil(count / batch_size),
            validation_data=batches(
                validation, data.labels[data.validation], data.class_count, batch_size, in_order(len(data.validation))
            ),
            epochs=phase.epochs,
            class_weight=class_weights(phase.class_weight, labels, data.classes),
            callbacks=[recorder, stopping],
            shuffle=False,
            verbose=0,
        )
    rows = recorder.rows
    return Fitted(rows, rows[stopping.best_epoch] if phase.restore_best else rows[-1])


def learning_rate(
    finetune: FinetuneConfig, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The rate by step: linear from 0 to its peak over the warm-up, then constant, or to 0 along half a cosine."""
    warmup = round(finetune.warmup_epochs * steps_per_epoch)
    cosine = finetune.schedule == "cosine"
    if not cosine and not warmup:
        return finetune.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else finetune.learning_rate,
        decay_steps=max(1, finetune.epochs * steps_per_epoch - warmup),
        # Falling to the whole of the rate is staying there.
        alpha=0.0 if cosine else 1.0,
        warmup_target=finetune.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class _Recorder(keras.callbacks.Callback):
    """Keeps, logs and reports a row an epoch, and moves the progress bar."""

    def __init__(
        self, report: Callable[[Row], None], advance: Callable[..., None], epochs: range, images: int, batch_size: int
    ):
        super().__init__()
        self.rows: list[Row] = []
        self._report, self._advance, self._epochs = report, advance, epochs
        self._images, self._batch_size = images, batch_size

    def on_train_batch_end(self, batch, logs=None):
        if interrupted():
            # Raised within a library's callback from C, the first one may have been lost.
            raise KeyboardInterrupt
        self._advance(min(self._batch_size, self._images - batch * self._batch_size))

    def on_epoch_end(self, epoch, logs=None):
        # Keras computes in float32, which has seven digits to tell.
        # A replicated variable is no number until TensorFlow has read it.
        rate = tf.convert_to_tensor(self.model.optimizer.learning_rate)
        row = {"epoch": self._epochs[epoch] + 1, "learning_rate": _digits(rate)}
        row |= {name: _digits(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        self.rows.append(row)
        told = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        log.info("epoch %d of %d  %s", row["epoch"], self._epochs.stop, told)
        self._advance(0, note=f"epoch {row['epoch']} of {self._epochs.stop}, val_accuracy {row['val_accuracy']:.3f}")
        if not all(np.isfinite(value) for value in row.values()):
            raise PipelineError(
                f"The training diverged in epoch {row['epoch']} ({told}); lower the learning rate of this phase"
            )
        self._report(row)


def _digits(value: float) -> float:
    return float(f"{float(value):.7g}")
