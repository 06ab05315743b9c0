"""Learning-rate range test: measure the loss while the learning rate rises.

Source:
    L. Smith, Cyclical Learning Rates for Training Neural Networks, 2017.
"""

import logging
import math
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.config import Config, FindLrConfig
from pipeline.finetuning.finetuner import round_parts
from pipeline.finetuning.rounds import finetune_rounds
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import BACKBONE, build_classifier
from pipeline.models.parts import parts_for_feature_extraction
from pipeline.models.saving import load_classifier
from pipeline.reports.training_charts import plot_rate_range
from pipeline.stages.settings import Places
from pipeline.storage.files import Json, whole_folder, write_json
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import progress
from pipeline.training.features import TrainingData, training_data
from pipeline.training.fit import FitContext, PhaseFit, compile_network, in_training, make_inputs, training_batches
from pipeline.training.hardware import set_up

log = logging.getLogger(__name__)

# Weight of a new batch in the moving average of the loss.
_SMOOTHING = 0.1
# The test ends when the moving average exceeds its lowest value by this factor.
_DIVERGED = 4.0
# The loss has a minimum if it rises afterwards by this fraction of its fall, and it falls by this fraction at least.
_CLEAR = 0.1
# Fraction of the steps over which the slope of the loss is measured.
_WINDOW = 0.2
# Number of passes over the training images above which the loss says more about these images than about the rate.
_PASSES = 3


def run(config: Config, phase: str, places: Places, inputs: Path) -> Json:
    """Train the first steps of a phase while the learning rate rises, until the loss diverges.

    The rate rises from `find_lr.low` to `find_lr.high`. The files rates.csv, find_lr.png and suggestion.json are
    written to the folder find_lr in `inputs`. No model is saved.

    Args:
        config: Configuration of the experiment.
        phase: Phase to test: train, or finetune (its first round).
        places: Folders of the images and the cache.
        inputs: Folder of the earlier stages' outputs.

    Returns:
        `phase`, and the learning rates `suggested` (None without a clear minimum of the loss), `lowest` (at the
        minimum of the moving average) and `configured`.

    Raises:
        PipelineError: The first loss is not finite.
    """
    strategy = set_up(config.hardware, config.seed)
    context = FitContext(config.seed, config.augment, config.hardware, strategy)
    data = training_data(read_manifest(inputs / "prepare"), places.images, config, places.cache)
    with strategy.scope():
        task = _phase_1(config, data, places) if phase == "train" else _phase_2(config, data, inputs, context)
    find_lr = config.find_lr
    table, suggested = suggest_rate(_losses(task, context, find_lr), find_lr.low, find_lr.high, find_lr.steps)
    configured, folder = getattr(config, phase).learning_rate, inputs / "find_lr"
    lowest = float(table["learning_rate"].to_numpy()[table["smoothed"].argmin()])
    figures = {"phase": phase, "suggested": suggested, "lowest": lowest, "configured": configured}
    with whole_folder(folder) as out:
        table.to_csv(out / "rates.csv", index=False)
        plot_rate_range(table, suggested, configured, out / "find_lr.png")
        write_json(out / "suggestion.json", figures)
    _report(figures, folder / "find_lr.png")
    _warn_of_repetitions(phase, len(data.train_indices), task.phase.batch_size, len(table))
    return figures


def _report(figures: Json, chart: Path) -> None:
    phase, suggested, configured = figures["phase"], figures["suggested"], figures["configured"]
    if suggested is None:
        log.warning(
            "%s.learning_rate: no suggestion, since the loss has no clear minimum between find_lr.low and find_lr.high; change these, "
            "or raise find_lr.steps. See %s",
            phase, chart,
        )  # fmt: skip
        return
    log.info(
        "%s.learning_rate: suggested %.2g, where the loss falls fastest; it is lowest at %.2g. Configured: %.2g (%s). See %s",
        phase, suggested, figures["lowest"], configured, _compared(configured / suggested), chart,
    )  # fmt: skip


def _warn_of_repetitions(phase: str, images: int, batch_size: int, steps: int) -> None:
    passes = steps * batch_size / images
    if passes > _PASSES:
        log.warning(
            "find_lr: %d batches are %.0f passes over %d training images, so that the loss falls because they are repeated; the "
            "suggestion is unsure. Lower %s.batch_size or find_lr.steps",
            steps, passes, images, phase,
        )  # fmt: skip


def _compared(ratio: float) -> str:
    if abs(math.log10(ratio)) < 0.5:
        return "about the same"
    return f"{ratio:.1f} times as high" if ratio > 1 else f"{1 / ratio:.1f} times lower"


def _losses(task: PhaseFit, context: FitContext, find_lr: FindLrConfig) -> list[float]:
    """Return the loss of each batch while the learning rate rises."""
    parts, steps = task.parts, find_lr.steps
    network_inputs = make_inputs(parts, task.data, task.phase, context)
    network = network_inputs.network
    rising = keras.optimizers.schedules.ExponentialDecay(find_lr.low, steps - 1, find_lr.high / find_lr.low)
    epochs = range(math.ceil(steps / math.ceil(len(task.data.train_indices) / task.phase.batch_size)))
    losses: list[float] = []
    with in_training(network_inputs, parts), context.strategy.scope(), progress("learning rate", steps) as advance:
        compile_network(network, task, rising, jit=context.hardware.jit_compile)
        for images, targets in training_batches(network_inputs, task, context, epochs).take(steps):
            network.reset_metrics()
            losses.append(float(network.train_on_batch(images, targets, return_dict=True)["loss"]))
            advance()
            curve = smoothed(losses)
            if not np.isfinite(losses[-1]) or curve[-1] > _DIVERGED * curve.min():
                break
    return losses


def _phase_1(config: Config, data: TrainingData, places: Places) -> PhaseFit:
    size, weights = config.image_size, places.weights
    model = build_classifier(config.backbone, config.train, size, len(data.classes), weights=weights)
    return PhaseFit(parts_for_feature_extraction(model, config.backbone, config.hardware.precision), data, config.train)


def _phase_2(config: Config, data: TrainingData, inputs: Path, context: FitContext) -> PhaseFit:
    model, _ = load_classifier(inputs / "train" / "model.keras")
    backbone = model.get_layer(BACKBONE)
    first = finetune_rounds(config.finetune, config.backbone, backbone, len(data.train_indices))[0]
    parts, factors = round_parts(model, first, config.backbone.blocks, context)
    return PhaseFit(parts, data, first.settings, rate_factors=factors)


def smoothed(losses: list[float]) -> np.ndarray:
    """Return the exponential moving average of the losses, without bias towards the first loss, float64 [n]."""
    return pd.Series(losses).ewm(alpha=_SMOOTHING).mean().to_numpy()


def suggest_rate(losses: list[float], low: float, high: float, steps: int) -> tuple[pd.DataFrame, float | None]:
    """Suggest a learning rate from the losses of a range test's batches.

    Args:
        losses: Losses of the batches, at most `steps`.
        low: Learning rate of the first batch.
        high: Learning rate of batch number `steps`.
        steps: Number of batches from `low` to `high`.

    Returns:
        Table with one row per batch and the columns learning_rate, loss and smoothed (the moving average of the loss).
        The suggested rate, at the end of the batches over which the loss falls fastest, relative to its value; None if
        the loss has no clear minimum.

    Raises:
        PipelineError: The first loss is not finite.
    """
    finite = [loss for loss in losses if np.isfinite(loss)]
    if not finite:
        raise PipelineError(f"find_lr.low: the loss is not finite at the learning rate {low:g}; choose a lower one")
    rates = low * (high / low) ** (np.arange(len(finite)) / (steps - 1))
    curve = smoothed(finite)
    table = pd.DataFrame({"learning_rate": rates, "loss": finite, "smoothed": curve})
    lowest = int(curve.argmin())
    width = max(3, round(_WINDOW * steps))
    falls = curve[: lowest + 1].max() - curve[lowest]
    rises = np.inf if len(finite) < len(losses) else curve[lowest:].max() - curve[lowest]
    if lowest + 1 < width or falls < _CLEAR * curve[lowest] or rises < _CLEAR * falls:
        return table, None
    windows = np.lib.stride_tricks.sliding_window_view(np.log(np.maximum(finite[: lowest + 1], 1e-12)), width)
    slopes = np.polyfit(np.arange(width), windows.T, 1)[0]
    return table, float(rates[slopes.argmin() + width - 1])
