"""Stage finetune, phase 2: the backbone's upper part learns as well, at a small rate, from where phase 1 ended."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main("finetune")

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.cache import Cache
from pipeline.charts import write_png
from pipeline.checkout import resolve
from pipeline.config import Config, FinetuneConfig
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.errors import PipelineError
from pipeline.files import read_json, write_json
from pipeline.hardware import description, set_up
from pipeline.models.archive import load_classifier, save_classifier
from pipeline.models.freezing import batch_norm_digest, rate_factors
from pipeline.models.parts import Parts, parts_for_finetuning
from pipeline.models.tuning import at_size
from pipeline.plots import training_curves
from pipeline.training.augmentation import write_augmentation
from pipeline.training.data import TrainingData, training_data
from pipeline.training.epochs import Row, worth
from pipeline.training.fit import Fitted, fit_phase
from pipeline.training.outcome import summary, write_rates
from pipeline.training.phases import finetune_phases, told

log = logging.getLogger(__name__)

INPUTS = ("prepare", "train")


def run(
    config: Config, inputs: Path, out: Path, report: Callable[[Row], None], backup: Path | None = None
) -> dict[str, str]:
    """Write model.keras, history.csv, rates.csv, metrics.json, curves.png and augmentation.png to `out`.

    `backup` is the folder from which a cut-off training goes on.

    Returns:
        what the result depends on beside the configuration.

    Raises:
        PipelineError: a frozen BatchNormalization has changed, there is no such unfreeze depth, or the training diverged.
    """
    strategy = set_up(config.hardware, config.seed)
    cache = Cache(resolve(config.cache_folder))
    manifest = read_manifest(inputs / "prepare")
    phase_1, extraction = pd.read_csv(inputs / "train" / "history.csv"), read_json(inputs / "train" / "metrics.json")
    with strategy.scope():
        model, classes = load_classifier(inputs / "train" / "model.keras")
    backbone = model.get_layer("backbone")
    data = training_data(manifest, config, cache)
    phases = finetune_phases(config, backbone, len(data.training))
    before = batch_norm_digest(backbone)
    tuning = Tuning(model, manifest, data, config, strategy, cache, report, len(phase_1), backup)
    parts, fitted, kept = tuning.through(phases)
    if config.finetune.freeze_batch_norm and batch_norm_digest(backbone) != before:
        raise PipelineError(
            "BatchNormalization changed although finetune.freeze_batch_norm is on; this result can't be trusted, please report it"
        )

    rows = [row for each in fitted for row in each.rows]
    metrics = summary(rows, kept, parts.trainable, model)
    metrics["unfreeze"] = phases[-1].unfreeze
    metrics["phase_epochs"] = [len(each.rows) for each in fitted]
    metrics["kept_share"] = kept["share"]
    metrics["best"] = better_phase(extraction, metrics)
    if metrics["best"] == "train":
        log.warning(
            "Fine-tuning ended below phase 1 on validation (accuracy, then loss): the model of phase 1 is the better one. "
            "A lower finetune.learning_rate may help (python -m pipeline.find_lr), or more pictures"
        )
    save_classifier(model, classes, out / "model.keras")
    history = pd.DataFrame(rows)
    history.to_csv(out / "history.csv", index=False)
    write_rates([row["epoch"] for row in rows], np.concatenate([each.rates for each in fitted]), out / "rates.csv")
    write_json(out / "metrics.json", metrics)
    write_png(training_curves([phase_1, history], [extraction, metrics], metrics["phase_epochs"]), out / "curves.png")
    write_augmentation(config.augment, data, config.seed, "finetune", out / "augmentation.png")
    return description() | {"finetune.precision": parts.precision, "finetune.depth": told(phases)}


class Tuning:
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
                smaller = at_size(model, phase.image_size)
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


def better_phase(train: dict[str, Any], finetune: dict[str, Any]) -> str:
    """Which phase's model is the better one on validation: by accuracy, then by loss; the simpler one where they are equal."""
    return "finetune" if worth(finetune) > worth(train) else "train"
