"""The rate range test (L. Smith, Cyclical Learning Rates, 2017): the loss while the learning rate rises."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.finetuning.phases import finetune_rounds
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.freezing import rate_factors
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning
from pipeline.models.saving import load_classifier
from pipeline.stages.settings import Places
from pipeline.storage.cache import Cache
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import progress
from pipeline.training.data import TrainingData, training_data
from pipeline.training.fit import FitContext, PhaseFit, compile_network, make_inputs, training_batches
from pipeline.training.hardware import set_up

# Of the moving average that the curve is read from: what a batch adds to it.
_FRESH = 0.1
_HOPELESS = 4.0
_BELOW_LOWEST = 10.0


@dataclass(frozen=True)
class RangeTest:
    """Result of a learning-rate range test."""

    table: pd.DataFrame
    """A row a batch: learning_rate, loss, and smoothed, its moving average."""
    suggested: float
    """A tenth of the rate at which the smoothed loss was lowest."""


def range_test(config: Config, phase: str, places: Places, inputs: Path) -> RangeTest:
    """Train a phase's first steps at rates that rise from `find_lr.low` to `find_lr.high`, until the loss is hopeless. Nothing is kept of it.

    Args:
        config: the experiment's.
        phase: train, or finetune (the first of its rounds).
        places: the images, and the cache.
        inputs: folder of the stages before.

    Raises:
        PipelineError: the loss is no number from the start.
    """
    strategy = set_up(config.hardware, config.seed)
    context = FitContext(config.seed, config.augment, config.hardware, strategy)
    data = training_data(
        read_manifest(inputs / "prepare"),
        places.images,
        config.image_size,
        Cache(places.cache),
        backbone=config.backbone,
        hardware=config.hardware,
        variants=Variants(config.augment, config.seed),
    )
    with strategy.scope():
        task = _phase_1(config, data, places) if phase == "train" else _phase_2(config, data, inputs)
    parts, settings, steps = task.parts, task.phase, config.find_lr.steps
    fed = make_inputs(parts, data, settings, config.augment)
    low, high = config.find_lr.low, config.find_lr.high
    rising = keras.optimizers.schedules.ExponentialDecay(low, steps - 1, high / low)
    epochs = range(math.ceil(steps / math.ceil(len(data.train_indices) / settings.batch_size)))
    losses: list[float] = []
    with parts.in_their_arithmetic(), strategy.scope(), progress("learning rate", steps) as advance:
        jit = config.hardware.jit_compile
        compile_network(fed.network, parts, settings, rising, rate_factors=task.rate_factors, jit=jit)
        for images, targets in training_batches(fed, task, context, epochs).take(steps):
            fed.network.reset_metrics()
            losses.append(float(fed.network.train_on_batch(images, targets, return_dict=True)["loss"]))
            advance()
            curve = smoothed(losses)
            if not np.isfinite(losses[-1]) or curve[-1] > _HOPELESS * curve.min():
                break
    return read(losses, low, high, steps)


def _phase_1(config: Config, data: TrainingData, places: Places) -> PhaseFit:
    model = build_classifier(config.backbone, config.train, config.image_size, data.class_count, places.weights)
    return PhaseFit(parts_for_feature_extraction(model, config.backbone, config.hardware.precision), data, config.train)


def _phase_2(config: Config, data: TrainingData, inputs: Path) -> PhaseFit:
    model, _ = load_classifier(inputs / "train" / "model.keras")
    backbone = model.get_layer("backbone")
    first = finetune_rounds(config.finetune, config.backbone, backbone, len(data.train_indices))[0]
    parts = parts_for_finetuning(
        model,
        first.first_layer,
        freeze_batch_norm=first.settings.freeze_batch_norm,
        precision=config.hardware.precision,
        dropout=first.settings.dropout,
        stochastic_depth=first.settings.stochastic_depth,
    )
    head, named = model.get_layer("head"), first.settings.rate_factors or {}
    factors = rate_factors(backbone, head, config.backbone.blocks, first.settings.rate_decay, named)
    return PhaseFit(parts, data, first.settings, rate_factors=factors)


def smoothed(losses: list[float]) -> np.ndarray:
    """Their moving average, without a lean towards the first, float64 [n]."""
    return pd.Series(losses).ewm(alpha=_FRESH).mean().to_numpy()


def read(losses: list[float], low: float, high: float, steps: int) -> RangeTest:
    """What the losses of the first batches say, of `steps` that lead from one rate to the other.

    Raises:
        PipelineError: the first loss is no number.
    """
    finite = [loss for loss in losses if np.isfinite(loss)]
    if not finite:
        raise PipelineError(f"find_lr.low: at {low:g} the loss is no number already; give a lower one")
    rates = low * (high / low) ** (np.arange(len(finite)) / (steps - 1))
    curve = smoothed(finite)
    table = pd.DataFrame({"learning_rate": rates, "loss": finite, "smoothed": curve})
    return RangeTest(table, float(rates[curve.argmin()] / _BELOW_LOWEST))
