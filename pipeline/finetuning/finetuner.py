"""Fine-tuning of one classifier, round by round."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras

from pipeline.config import BackboneConfig
from pipeline.finetuning.phases import Round
from pipeline.finetuning.selection import interpolate
from pipeline.models.freezing import rate_factors
from pipeline.models.fused_training import with_input_size
from pipeline.models.parts import Parts, parts_for_finetuning
from pipeline.training.data import TrainingData
from pipeline.training.fit import FitContext, Fitted, PhaseFit, fit_phase
from pipeline.training.history import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuned:
    """Result of all rounds."""

    parts: Parts
    """Of the last round."""
    rounds: list[Fitted]
    kept: Row
    """The row of the epoch whose weights the model has; `share` of the way from the round's first weights to the epoch's, 1: all of it."""


class FineTuner:
    """Fine-tuning of one classifier, which is changed in place."""

    def __init__(
        self,
        model: keras.Model,
        backbone: BackboneConfig,
        data_at: Callable[[int], TrainingData],
        context: FitContext,
        epochs_before: int,
    ):
        """`data_at` gives the training data at a size in pixels; `epochs_before` are those of phase 1."""
        self._model, self._backbone, self._data_at = model, backbone, data_at
        self._context, self._epochs_before = context, epochs_before
        self._size: int = model.input_shape[1]

    def run(self, rounds: Sequence[Round]) -> FineTuned:
        """Train through all rounds; where the best epoch's weights are kept, the model has the best round's."""
        fitted: list[Fitted] = []
        kept: Row | None = None
        weights = []
        for number, each in enumerate(rounds, start=1):
            if len(rounds) > 1:
                log.info("round %d of %d: from %s", number, len(rounds), each.settings.unfreeze)
            parts, result, last = self._fit(each, sum(len(before.rows) for before in fitted))
            fitted.append(result)
            if kept is None or not each.settings.restore_best or _better(last, kept, each.settings.monitor):
                kept, weights = last, self._model.get_weights()
        self._model.set_weights(weights)
        return FineTuned(parts, fitted, kept)

    def _fit(self, each: Round, epochs: int) -> tuple[Parts, Fitted, Row]:
        """Fit one round; its last row is of the weights that the model then has."""
        settings, context = each.settings, self._context
        parts, data, validation = self._parts(self._model, each), self._data_at(self._size), None
        if settings.image_size not in (None, self._size):
            with context.strategy.scope():
                smaller = with_input_size(self._model, settings.image_size)
            validation = parts, data
            parts, data = self._parts(smaller, each), self._data_at(settings.image_size)
        factors = rate_factors(
            self._model.get_layer("backbone"),
            self._model.get_layer("head"),
            self._backbone.blocks,
            settings.rate_decay,
            settings.rate_factors or {},
        )
        start = parts.trainable.get_weights() if settings.interpolate else []
        task = PhaseFit(parts, data, settings, self._epochs_before + epochs, factors, validation)
        fitted = fit_phase(task, context)
        kept = fitted.kept | {"share": 1}
        if settings.interpolate:
            with parts.in_their_arithmetic(), context.strategy.scope():
                kept |= interpolate(
                    fitted.network, parts.trainable, start, kept, settings.interpolate, fitted.validation
                )
        return parts, fitted, kept

    def _parts(self, model: keras.Model, each: Round) -> Parts:
        settings = each.settings
        return parts_for_finetuning(
            model,
            each.first_layer,
            freeze_batch_norm=settings.freeze_batch_norm,
            precision=self._context.hardware.precision,
            dropout=settings.dropout,
            stochastic_depth=settings.stochastic_depth,
        )


def _better(row: Row, than: Row, monitor: str) -> bool:
    return row[monitor] < than[monitor] if monitor == "val_loss" else row[monitor] > than[monitor]
