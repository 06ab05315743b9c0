"""Stage finetune, phase 2: the upper part of the backbone is trained as well, at a small rate, from the model of phase 1."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.finetuning.finetuner import FineTuner
from pipeline.finetuning.phases import finetune_phases, told
from pipeline.finetuning.selection import better_phase
from pipeline.inputs.manifest import read_manifest
from pipeline.models.freezing import batch_norm_digest
from pipeline.models.saving import load_classifier, save_classifier
from pipeline.reports.training_charts import training_curves
from pipeline.storage.cache import Cache
from pipeline.storage.files import read_json, write_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.training.augmentation_preview import write_augmentation
from pipeline.training.data import training_data
from pipeline.training.hardware import description, set_up
from pipeline.training.history import Row, summary, write_rates
from pipeline.visuals.style import write_png

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
    tuning = FineTuner(model, manifest, data, config, strategy, cache, report, len(phase_1), backup)
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
            "A lower finetune.learning_rate may help (python -m pipeline.find_lr), or more images"
        )
    save_classifier(model, classes, out / "model.keras")
    history = pd.DataFrame(rows)
    history.to_csv(out / "history.csv", index=False)
    write_rates([row["epoch"] for row in rows], np.concatenate([each.rates for each in fitted]), out / "rates.csv")
    write_json(out / "metrics.json", metrics)
    write_png(training_curves([phase_1, history], [extraction, metrics], metrics["phase_epochs"]), out / "curves.png")
    write_augmentation(config.augment, data, config.seed, "finetune", out / "augmentation.png")
    return description() | {"finetune.precision": parts.precision, "finetune.depth": told(phases)}
