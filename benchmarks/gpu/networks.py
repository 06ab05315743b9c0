"""Speed of feature extraction and of training steps, against a bare Keras model in the same precision."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.timing import ROUNDS, Measured, rounds
from pipeline.config import Config
from pipeline.inputs.batches import Labels, batches, shuffled
from pipeline.models.classifier import BACKBONE, POOLING, build_classifier
from pipeline.models.freezing import all_layers
from pipeline.models.graph import count_macs
from pipeline.models.parts import FrozenBelow, parts_for_feature_extraction, parts_for_finetuning
from pipeline.training.features import TrainingData, computed
from pipeline.training.fit import PhaseFit, compile_network
from pipeline.training.input_wait import InputWait, TimedInputs
from pipeline.training.optimizers import Rates

_CLASSES = 10
# Passes through the network in a training step: forward, and gradients of inputs and of weights.
_PASSES = 3


class MadeInputs:
    """Random images in memory."""

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int, size: int):
        self.shape: tuple[int, ...] = (size, size, 3)
        self.images = np.random.default_rng(1).integers(0, 256, (count, *self.shape), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:  # noqa: ARG002 (signature of Inputs)
        """Return the images at `indices`, integer [b], whatever their variant."""
        return self.images[indices]


class EpochSeconds(keras.callbacks.Callback):
    """Callback that measures the seconds of each epoch, until its loss is known."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Start the time measurement."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Record the seconds."""
        # GPUs compute in the background until a result is read.
        float((logs or {})["loss"])
        self.seconds.append(time.perf_counter() - self.started)


def measure_extraction(cell: Cell, config: Config) -> Measured:
    """Compute features of the frozen backbone as the pipeline does, and call the bare model, compiled, on one batch."""
    model = build_classifier(config.backbone, config.train, cell.image_size, _CLASSES)
    part = parts_for_feature_extraction(model, config.backbone, config.hardware.precision).frozen
    macs = count_macs(model.get_layer(BACKBONE))
    pixels, steps = MadeInputs(cell.batch, cell.image_size).images, cell.images // cell.batch
    with tf.device("CPU:0"):
        # As the feed gives it.
        read = tf.constant(pixels)
    first, ours = rounds(lambda: list(computed(part.from_pixels, [read] * steps)))
    bare: list[float] = []
    if cell.bare:
        plain = _bare_model(cell, config, part.arithmetic)
        features = keras.Model(plain.inputs, plain.get_layer(POOLING).output)
        # On a GPU the batch is in its memory already, and only the last result is read.
        batch, call = tf.constant(pixels), tf.function(lambda images: features(images, training=False))
        bare = rounds(lambda: [call(batch) for _ in range(steps)][-1].numpy())[1]
    return Measured(first, ours, bare, steps * cell.batch, macs)


def measure_training(cell: Cell, config: Config) -> Measured:
    """Train the whole backbone with frozen BatchNormalization, and fit the bare model."""
    model = build_classifier(config.backbone, config.train, cell.image_size, _CLASSES)
    macs = _PASSES * count_macs(model.get_layer(BACKBONE))
    parts = parts_for_finetuning(model, 0, freeze_batch_norm=True, precision=config.hardware.precision)
    made, steps = MadeInputs(cell.images, cell.image_size), cell.images // cell.batch
    inputs = TimedInputs(made)
    wait = InputWait(inputs)
    labels = Labels(np.arange(cell.images) % _CLASSES, _CLASSES)
    network = FrozenBelow(parts.frozen, parts.trainable)
    # Compiling needs no data.
    task = PhaseFit(parts, cast(TrainingData, None), config.finetune)
    timer = EpochSeconds()
    with parts.in_their_arithmetic():
        compile_network(network, task, Rates(config.finetune, steps), jit=cell.xla)
        plan, epochs = shuffled(cell.images, 1, config.seed), range(1 + ROUNDS)
        training = batches(inputs, plan, cell.batch, epochs=epochs, labels=labels)
        network.fit(
            training, steps_per_epoch=steps, epochs=len(epochs), callbacks=[timer, wait], shuffle=False, verbose=0
        )
    bare = _bare_training(cell, config, parts.arithmetic.policy, made.images) if cell.bare else []
    return Measured(timer.seconds[0], timer.seconds[1:], bare, steps * cell.batch, macs, wait.fraction)


def _bare_training(cell: Cell, config: Config, policy: str, images: np.ndarray) -> list[float]:
    model, timer = _bare_model(cell, config, policy), EpochSeconds()
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    model.compile(keras.optimizers.AdamW(1e-4), "categorical_crossentropy", jit_compile=cell.xla)
    targets = np.eye(_CLASSES, dtype=np.float32)[np.arange(len(images)) % _CLASSES]
    model.fit(images, targets, batch_size=cell.batch, epochs=1 + ROUNDS, callbacks=[timer], shuffle=False, verbose=0)
    return timer.seconds[1:]


def _bare_model(cell: Cell, config: Config, precision: str) -> keras.Model:
    """Return the classifier as Keras computes it with a global dtype policy of this precision."""
    policy = precision if precision.startswith("mixed_") or precision == "float32" else f"mixed_{precision}"
    with _global_policy(policy):
        return build_classifier(config.backbone, config.train, cell.image_size, _CLASSES)


@contextmanager
def _global_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
