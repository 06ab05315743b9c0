"""The fit loop that both phases share."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from pipeline.config import Config, FinetuneConfig, PhaseConfig
from pipeline.data.batches import PictureInputs, batches, in_order, shuffled
from pipeline.data.listing import pictures_folder
from pipeline.data.manifest import Manifest, class_indices
from pipeline.data.pictures import Pictures
from pipeline.errors import PipelineError
from pipeline.features import FrozenBelow, frozen_outputs, worth_keeping
from pipeline.interruption import interrupted
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


def training_pictures(manifest: Manifest, config: Config) -> tuple[Pictures, Pictures]:
    """The training and the validation pictures, in manifest order."""
    folder, memory = pictures_folder(config.dataset), config.hardware.picture_memory_gib
    training, validation = (manifest.split(name)["path"] for name in ("train", "validation"))
    return (
        Pictures(folder, training, config.image_size, memory, "decoding, training"),
        Pictures(folder, validation, config.image_size, memory, "decoding, validation"),
    )


def fit_phase(
    frozen: keras.Model,
    trainable: keras.Model,
    data: tuple[Pictures, Pictures],
    manifest: Manifest,
    config: Config,
    phase: PhaseConfig,
    schedule: float | keras.optimizers.schedules.LearningRateSchedule,
    report: Callable[[Row], None],
    epochs_before: int = 0,
) -> Fitted:
    """Train `trainable` on what `frozen` makes of the training pictures, watching the validation pictures; both models are changed in place.

    Args:
        frozen: pixels uint8 [b, size, size, 3] to what `trainable` takes; runs in inference mode.
        trainable: to class probabilities; every weight of it that is trainable learns.
        data: training and validation pictures, in manifest order.
        manifest: their labels.
        config: seed, augmentation and hardware.
        phase: epochs, batch size and when to stop.
        schedule: the learning rate, constant or by step.
        report: called with each epoch's row.
        epochs_before: epochs of the phase before this one.

    Raises:
        PipelineError: the loss is no longer a number.
    """
    labels = [class_indices(manifest.split(split), manifest.classes) for split in ("train", "validation")]
    views = min(config.augment.views + 1, phase.epochs)
    training, validation = (
        PictureInputs(data[0], config.augment, config.seed, views),
        PictureInputs(data[1], config.augment, config.seed, 1),
    )
    if worth_keeping(frozen, len(data[0]) * views + len(data[1]), config.hardware.feature_memory_gib):
        training = frozen_outputs(frozen, training, len(data[0]), views, phase.batch_size, "frozen part, training")
        validation = frozen_outputs(frozen, validation, len(data[1]), 1, phase.batch_size, "frozen part, validation")
        network = trainable
    else:
        network = FrozenBelow(frozen, trainable)
    network.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=config.hardware.jit_compile,
    )
    classes = len(manifest.classes)
    epochs = range(epochs_before, epochs_before + phase.epochs)
    plan = shuffled(len(data[0]), views, config.seed)
    stopping = keras.callbacks.EarlyStopping(
        monitor=phase.monitor,
        mode="min" if phase.monitor == "val_loss" else "max",
        patience=phase.epochs if phase.early_stopping_patience is None else phase.early_stopping_patience,
        restore_best_weights=phase.restore_best,
    )
    with progress("epoch 1", phase.epochs * len(data[0])) as advance:
        recorder = _Recorder(report, advance, epochs, len(data[0]), phase.batch_size)
        network.fit(
            batches(training, labels[0], classes, phase.batch_size, plan, epochs),
            steps_per_epoch=math.ceil(len(data[0]) / phase.batch_size),
            validation_data=batches(validation, labels[1], classes, phase.batch_size, in_order(len(data[1]))),
            epochs=phase.epochs,
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
