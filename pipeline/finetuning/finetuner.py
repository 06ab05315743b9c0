"""Fine-tuning of one classifier, round by round."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from pipeline.config import Config, FinetuneConfig
from pipeline.inputs.manifest import Manifest
from pipeline.models.freezing import rate_factors
from pipeline.models.fused_training import with_input_size
from pipeline.models.parts import Parts, parts_for_finetuning
from pipeline.storage.cache import Cache
from pipeline.training.data import TrainingData, training_data
from pipeline.training.fit import Fitted, fit_phase
from pipeline.training.history import Row

log = logging.getLogger(__name__)


class FineTuner:
    """Fine-tuning of one classifier, phase by phase."""

    def __init__(
        self,
        model: keras.Model,
        manifest: Manifest,
        data: TrainingData,
        config: Config,
        strategy: tf.distribute.Strategy,
        cache: Cache,
        report: Callable[[Row], None],
        epochs_before: int,
        backup: Path | None = None,
    ):
        """`model` is changed in place; `data` is at `image_size`; `backup`: see `pipeline.training.fit.fit_phase`."""
        self._model, self._manifest, self._data, self._config = model, manifest, data, config
        self._strategy, self._cache, self._report, self._epochs_before = strategy, cache, report, epochs_before
        self._backup = backup

    def through(self, phases: Sequence[FinetuneConfig]) -> tuple[Parts, list[Fitted], Row]:
        """Train through all phases; the model has the best one's weights, where the best epoch's are kept.

        Returns:
            the last phase's parts, what each phase gave, and the row of the epoch whose weights the model has.
        """
        fitted: list[Fitted] = []
        kept, weights = None, []
        for number, phase in enumerate(phases, start=1):
            if len(phases) > 1:
                log.info("phase %d of %d: from %s", number, len(phases), phase.unfreeze)
            parts, given = self._fit(phase, sum(len(each.rows) for each in fitted))
            fitted.append(given)
            if kept is None or not phase.restore_best or _better(given.kept, kept, phase.monitor):
                kept, weights = given.kept, self._model.get_weights()
        self._model.set_weights(weights)
        return parts, fitted, kept

    def _fit(self, phase: FinetuneConfig, epochs: int) -> tuple[Parts, Fitted]:
        config = self._config
        epochs_before = self._epochs_before + epochs
        model, backbone = self._model, self._model.get_layer("backbone")
        parts = parts_for_finetuning(model, config.backbone, phase, config.hardware.precision)
        data, validated = self._data, None
        if phase.image_size not in (None, config.image_size):
            with self._strategy.scope():
                smaller = with_input_size(model, phase.image_size)
            validated = parts, data
            parts = parts_for_finetuning(smaller, config.backbone, phase, config.hardware.precision)
            data = training_data(self._manifest, config, self._cache, phase.image_size)
        factors = rate_factors(
            backbone, model.get_layer("head"), config.backbone.blocks, phase.rate_decay, phase.rate_factors or {}
        )
        return parts, fit_phase(
            parts,
            data,
            config,
            phase,
            self._strategy,
            self._cache,
            self._report,
            epochs_before,
            factors,
            validated,
            phase.interpolate or (),
            self._backup,
        )


def _better(row: Row, than: Row, monitor: str) -> bool:
    return row[monitor] < than[monitor] if monitor == "val_loss" else row[monitor] > than[monitor]
