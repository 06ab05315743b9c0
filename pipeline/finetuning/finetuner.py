"""Fine-tuning of a classifier in rounds, and selection of its weights by validation metrics."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from pipeline.config import BackboneConfig
from pipeline.config.size import Size, size_of
from pipeline.finetuning.low_rank import merge, update_factors, with_low_rank
from pipeline.finetuning.rounds import Round
from pipeline.models.classifier import with_input_size
from pipeline.models.freezing import rate_factors
from pipeline.models.parts import Parts, parts_for_finetuning
from pipeline.training import Row, seven_digits
from pipeline.training.features import TrainingData
from pipeline.training.fit import FitContext, Fitted, PhaseFit, fit_phase

log = logging.getLogger(__name__)

Weights = Sequence[np.ndarray]


@dataclass(frozen=True)
class FineTuned:
    """Result of all rounds of fine-tuning."""

    parts: Parts
    """Parts of the classifier in the last round."""
    rounds: list[Fitted]
    kept: Row
    """Metrics of the weights that the model has, and `alpha`; see `interpolate`."""


def fine_tune(
    model: keras.Model,
    rounds: Sequence[Round],
    *,
    backbone: BackboneConfig,
    data_at: Callable[[Size], TrainingData],
    context: FitContext,
    epochs_before: int,
) -> FineTuned:
    """Fine-tune a classifier in one or more rounds.

    The model ends with the weights of the best round if `restore_best` is set, otherwise with those of the last round.

    Args:
        model: Classifier from feature extraction, which is changed in place.
        rounds: Rounds in order, at least one.
        backbone: Settings of the backbone, with the pattern of its blocks.
        data_at: Function that returns the training data at an image size.
        context: Settings and resources that all fits share.
        epochs_before: Number of epochs in feature extraction.
    """
    size = size_of(*model.input_shape[1:3])
    fitted: list[Fitted] = []
    kept: Row = {}
    weights: Weights = []
    for number, each in enumerate(rounds, start=1):
        settings, epochs = each.settings, epochs_before + sum(len(before.rows) for before in fitted)
        if len(rounds) > 1:
            log.info("round %d of %d: unfreeze=%s", number, len(rounds), settings.unfreeze)
        (parts, factors), data, validation = round_parts(model, each, backbone.blocks, context), data_at(size), None
        if settings.image_size not in (None, size):
            with context.strategy.scope():
                resized = with_input_size(model, settings.image_size)
            validation = parts, data
            (parts, factors), data = round_parts(resized, each, backbone.blocks, context), data_at(settings.image_size)
        start = parts.trainable.get_weights() if settings.interpolate else []
        fitted.append(fit_phase(PhaseFit(parts, data, settings, epochs, factors, validation), context))
        with context.strategy.scope():
            merge(parts)
        last = fitted[-1].kept | {"alpha": 1}
        if settings.interpolate:
            with parts.in_their_arithmetic(), context.strategy.scope():
                last |= interpolate(fitted[-1], parts.trainable, start, settings.interpolate)
        if not kept or not settings.restore_best or _better(last, kept, settings.monitor):
            kept, weights = last, model.get_weights()
    model.set_weights(weights)
    return FineTuned(parts, fitted, kept)


def round_parts(model: keras.Model, each: Round, blocks: str, context: FitContext) -> tuple[Parts, dict[int, float]]:
    """Divide a classifier into the frozen and the trainable part of a round.

    Args:
        model: Classifier, whose layers are frozen or unfrozen in place.
        each: Round of fine-tuning.
        blocks: Pattern of the backbone's blocks (`backbone.blocks`).
        context: Settings and resources that all fits share.

    Returns:
        The parts, and the learning-rate factors of their variables by `id()`.
    """
    settings = each.settings
    parts = parts_for_finetuning(
        model,
        each.first_layer,
        freeze_batch_norm=settings.freeze_batch_norm,
        precision=context.hardware.precision,
        dropout=settings.dropout,
        stochastic_depth=settings.stochastic_depth,
    )
    factors = rate_factors(model, blocks, settings)
    if settings.lora_rank is None:
        return parts, factors
    with context.strategy.scope():
        parts = with_low_rank(parts, settings.lora_rank, context.seed)
    return parts, factors | update_factors(parts, factors)


def _better(row: Row, other: Row, monitor: str) -> bool:
    return row[monitor] < other[monitor] if monitor == "val_loss" else row[monitor] > other[monitor]


def validation_score(metrics: Mapping[str, float]) -> tuple[float, float]:
    """Return the sort key by which models are compared: validation accuracy, then negative loss; larger is better."""
    # The loss comes second, since training with smoothed labels increases it by itself.
    return metrics["val_accuracy"], -metrics["val_loss"]


def better_phase(train: Mapping[str, float], finetune: Mapping[str, float]) -> str:
    """Return the phase whose model is better by `validation_score`, or train if both are equal."""
    return "finetune" if validation_score(finetune) > validation_score(train) else "train"


def interpolate(fitted: Fitted, trained: keras.Model, start: Weights, alphas: Sequence[float]) -> Row:
    """Interpolate between a round's first and last weights, and select the weights with the best validation score.

    Fine-tuning on few images loses some of the backbone's general features. Weights in between often classify better.

    Args:
        fitted: Result of the round.
        trained: Trainable part of the network with the last weights, which are replaced by the best ones.
        start: Weights of `trained` before the round.
        alphas: Values to try, each above 0 (the first weights) and below 1 (the last weights).

    Returns:
        `alpha`, `val_loss` and `val_accuracy` of the best weights; `alpha` is 1 if these are the last ones.

    Source:
        M. Wortsman et al., Robust fine-tuning of zero-shot models, 2022.
    """
    last = trained.get_weights()
    best = fitted.kept | {"alpha": 1}
    log.info(
        "weights between the start (0) and the end (1) of fine-tuning are tried on the validation images; "
        "at 1: val_accuracy %(val_accuracy).4g  val_loss %(val_loss).4g", best,
    )  # fmt: skip
    for alpha in sorted(alphas, reverse=True):
        trained.set_weights(between(start, last, alpha))
        metrics = fitted.network.evaluate(fitted.validation, verbose=0, return_dict=True)
        tried = {"alpha": alpha} | {f"val_{name}": seven_digits(metrics[name]) for name in ("loss", "accuracy")}
        log.info("weights at %(alpha)g of the way: val_accuracy %(val_accuracy).4g  val_loss %(val_loss).4g", tried)
        best = max(best, tried, key=validation_score)
    trained.set_weights(between(start, last, best["alpha"]))
    log.info(
        "kept the weights at %g of the way: val_accuracy %.4g is highest; the loss decides only between equal ones",
        best["alpha"], best["val_accuracy"],
    )  # fmt: skip
    return best


def between(start: Weights, end: Weights, alpha: float) -> list[np.ndarray]:
    """Interpolate each weight linearly; the result for `alpha` = 1 is exactly `end`."""
    return [last if alpha == 1 else first + alpha * (last - first) for first, last in zip(start, end, strict=True)]
