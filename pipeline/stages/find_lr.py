"""The rate range test (L. Smith, Cyclical Learning Rates, 2017): the loss while the learning rate rises."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.finetuning.phases import finetune_phases
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.freezing import rate_factors
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning
from pipeline.models.saving import load_classifier
from pipeline.storage.cache import Cache
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.system.terminal import progress
from pipeline.training.data import training_data
from pipeline.training.fit import compiled, feed, training_batches
from pipeline.training.hardware import set_up

# Of the moving average that the curve is read from: what a batch adds to it.
_FRESH = 0.1
_HOPELESS = 4.0
_BELOW_LOWEST = 10.0


@dataclass(frozen=True)
class RangeTest:
    """What came of it."""

    table: pd.DataFrame
    """A row a batch: learning_rate, loss, and smoothed, its moving average."""
    suggested: float
    """A tenth of the rate at which the smoothed loss was lowest."""


def range_test(config: Config, phase: str, inputs: Path) -> RangeTest:
    """Train a phase's first steps at rates that rise from `find_lr.low` to `find_lr.high`, until the loss is hopeless. Nothing is kept of it.

    Args:
        config: the experiment's.
        phase: train, or finetune (the first of its phases).
        inputs: folder of the stages before.

    Raises:
        PipelineError: the loss is no number from the start.
    """
    strategy, cache = set_up(config.hardware, config.seed), Cache(resolve(config.cache_folder))
    data = training_data(read_manifest(inputs / "prepare"), config, cache)
    factors, settings = {}, config.train
    with strategy.scope():
        if phase == "train":
            model = build_classifier(config, data.class_count)
            parts = parts_for_feature_extraction(model, config.backbone, config.hardware.precision)
        else:
            model, _ = load_classifier(inputs / "train" / "model.keras")
            backbone = model.get_layer("backbone")
            settings = finetune_phases(config, backbone, len(data.training))[0]
            parts = parts_for_finetuning(model, config.backbone, settings, config.hardware.precision)
            factors = rate_factors(
                backbone,
                model.get_layer("head"),
                config.backbone.blocks,
                settings.rate_decay,
                settings.rate_factors or {},
            )
    steps = config.find_lr.steps
    fed = feed(parts, data, config, settings, cache)
    low, high = config.find_lr.low, config.find_lr.high
    rising = keras.optimizers.schedules.ExponentialDecay(low, steps - 1, high / low)
    epochs = range(math.ceil(steps / math.ceil(len(data.training) / settings.batch_size)))
    losses: list[float] = []
    with parts.in_their_arithmetic(), strategy.scope(), progress("learning rate", steps) as advance:
        compiled(fed.network, parts, settings, rising, factors, config.hardware.jit_compile)
        for images, targets in training_batches(fed, data, config, settings, parts, epochs).take(steps):
            fed.network.reset_metrics()
            losses.append(float(fed.network.train_on_batch(images, targets, return_dict=True)["loss"]))
            advance()
            curve = smoothed(losses)
            if not np.isfinite(losses[-1]) or curve[-1] > _HOPELESS * curve.min():
                break
    return read(losses, low, high, steps)


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
