"""Stage finetune, phase 2: the backbone's upper part learns as well, at a small rate, from where phase 1 ended."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main("finetune")

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.cache import Cache
from pipeline.charts import write_png
from pipeline.checkout import resolve
from pipeline.config import Config
from pipeline.data.manifest import read_manifest
from pipeline.errors import PipelineError
from pipeline.files import read_json, write_json
from pipeline.hardware import description, set_up
from pipeline.models.archive import load_classifier, save_classifier
from pipeline.models.freezing import batch_norm_digest
from pipeline.models.parts import parts_for_finetuning
from pipeline.plots import training_curves
from pipeline.training.data import training_data
from pipeline.training.epochs import Row
from pipeline.training.fit import fit_phase
from pipeline.training.rates import learning_rate

log = logging.getLogger(__name__)

INPUTS = ("prepare", "train")


def run(
    config: Config, inputs: Path, out: Path, report: Callable[[Row], None], backup: Path | None = None
) -> dict[str, str]:
    """Write model.keras, history.csv, metrics.json and curves.png to `out`; `backup` is the folder from which a cut-off training goes on.

    Returns:
        what the result depends on beside the configuration.

    Raises:
        PipelineError: a frozen BatchNormalization has changed, or there is no such unfreeze depth.
    """
    strategy = set_up(config.hardware, config.seed)
    cache = Cache(resolve(config.cache_folder))
    manifest = read_manifest(inputs / "prepare")
    phase_1, extraction = pd.read_csv(inputs / "train" / "history.csv"), read_json(inputs / "train" / "metrics.json")
    with strategy.scope():
        model, classes = load_classifier(inputs / "train" / "model.keras")
    parts = parts_for_finetuning(model, config.backbone, config.finetune, config.hardware.precision)
    data = training_data(manifest, config, cache)
    rate = learning_rate(config.finetune, math.ceil(len(data.training) / config.finetune.batch_size))
    before = batch_norm_digest(model.get_layer("backbone"))
    fitted = fit_phase(
        parts, data, config, config.finetune, rate, strategy, cache, report, epochs_before=len(phase_1), backup=backup
    )
    if config.finetune.freeze_batch_norm and batch_norm_digest(model.get_layer("backbone")) != before:
        raise PipelineError(
            "BatchNormalization changed although finetune.freeze_batch_norm is on; this result can't be trusted, please report it"
        )

    metrics = fitted.summary(parts.trainable, model)
    metrics["best"] = better_phase(extraction, metrics)
    if metrics["best"] == "train":
        log.warning(
            "Fine-tuning ended below phase 1 on validation (accuracy, then loss): the model of phase 1 is the better one"
        )
    save_classifier(model, classes, out / "model.keras")
    history = pd.DataFrame(fitted.rows)
    history.to_csv(out / "history.csv", index=False)
    write_json(out / "metrics.json", metrics)
    kept = [extraction["kept_epoch"], fitted.kept["epoch"]]
    write_png(training_curves([phase_1, history], kept), out / "curves.png")
    return description() | {"finetune.precision": parts.precision}


def better_phase(train: dict[str, Any], finetune: dict[str, Any]) -> str:
    """Which phase's model is the better one on validation: by accuracy, then by loss; the simpler one where they are equal."""
    return (
        "finetune"
        if (finetune["val_accuracy"], -finetune["val_loss"]) > (train["val_accuracy"], -train["val_loss"])
        else "train"
    )
