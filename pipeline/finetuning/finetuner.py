"""Fine-tuning of one classifier, round by round."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras

from pipeline.config import BackboneConfig, FinetuneConfig
from pipeline.finetuning.phases import Round
from pipeline.finetuning.selection import Weights, interpolate
from pipeline.models.classifier import BACKBONE, HEAD
from pipeline.models.freezing import rate_factors
from pipeline.models.fused_training import with_input_size
from pipeline.models.parts import Parts, parts_for_finetuning
from pipeline.training import Row
from pipeline.training.data import TrainingData
from pipeline.training.fit import FitContext, Fitted, PhaseFit, fit_phase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuned:
    """Result of all rounds."""

    parts: Parts
    """Of the last round."""
    rounds: list[Fitted]
    kept: Row
    """Row of the epoch whose weights the model has, and `alpha`: see `pipeline.finetuning.selection.interpolate`."""


@dataclass(frozen=True)
class FineTuner:
    """Fine-tuning of one classifier."""

    model: keras.Model
    """The classifier of phase 1, which is changed in place."""
    backbone: BackboneConfig
    """Names its blocks."""
    data_at: Callable[[int], TrainingData]
    """Returns the training data at a size in pixels."""
    context: FitContext
    """Of all fits."""
    epochs_before: int
    """Those of phase 1."""

    def run(self, rounds: Sequence[Round]) -> FineTuned:
        """Train all rounds, at least one; where the best epoch's weights are kept, the model has the best round's."""
        fitted: list[Fitted] = []
        kept: Row = {}
        weights: Weights = []
        for number, each in enumerate(rounds, start=1):
            if len(rounds) > 1:
                log.info("round %d of %d: from %s", number, len(rounds), each.settings.unfreeze)
            parts, result, last = self._fit(each, sum(len(before.rows) for before in fitted))
            fitted.append(result)
            if not kept or not each.settings.restore_best or _better(last, kept, each.settings.monitor):
                kept, weights = last, self.model.get_weights()
        self.model.set_weights(weights)
        return FineTuned(parts, fitted, kept)

    def _fit(self, each: Round, epochs: int) -> tuple[Parts, Fitted, Row]:
        """Fit one round; the row is of the weights that the model then has."""
        settings, context, size = each.settings, self.context, self.model.input_shape[1]
        precision = context.hardware.precision
        parts, data, validation = round_parts(self.model, each, precision), self.data_at(size), None
        if settings.image_size not in (None, size):
            with context.strategy.scope():
                resized = with_input_size(self.model, settings.image_size)
            validation = parts, data
            parts, data = round_parts(resized, each, precision), self.data_at(settings.image_size)
        factors = round_rate_factors(self.model, self.backbone, settings)
        start = parts.trainable.get_weights() if settings.interpolate else []
        task = PhaseFit(parts, data, settings, self.epochs_before + epochs, factors, validation)
        fitted = fit_phase(task, context)
        kept = fitted.kept | {"alpha": 1}
        if settings.interpolate:
            with parts.in_their_arithmetic(), context.strategy.scope():
                kept |= interpolate(fitted, parts.trainable, start, settings.interpolate)
        return parts, fitted, kept


def round_parts(model: keras.Model, each: Round, precision: str) -> Parts:
    """Divide a classifier into the frozen and the trainable part of a round; `precision` is `hardware.precision`."""
    settings = each.settings
    return parts_for_finetuning(
        model,
        each.first_layer,
        freeze_batch_norm=settings.freeze_batch_norm,
        precision=precision,
        dropout=settings.dropout,
        stochastic_depth=settings.stochastic_depth,
    )


def round_rate_factors(model: keras.Model, backbone: BackboneConfig, settings: FinetuneConfig) -> dict[int, float]:
    """Return the factors on a round's learning rate by the variable's id."""
    return rate_factors(
        model.get_layer(BACKBONE),
        model.get_layer(HEAD),
        backbone.blocks,
        decay=settings.rate_decay,
        named=settings.rate_factors or {},
    )


def _better(row: Row, other: Row, monitor: str) -> bool:
    return row[monitor] < other[monitor] if monitor == "val_loss" else row[monitor] > other[monitor]
