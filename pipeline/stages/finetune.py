"""Stage finetune, phase 2: the upper part of the backbone is trained as well, at a small rate, from the model of phase 1."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.finetuning.finetuner import FineTuner
from pipeline.finetuning.phases import describe_depths, finetune_rounds
from pipeline.finetuning.selection import better_phase
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.manifest import read_manifest
from pipeline.models.freezing import batch_norm_digest
from pipeline.models.saving import load_classifier, save_classifier
from pipeline.stages.settings import FinetuneSettings, Places
from pipeline.storage.cache import Cache
from pipeline.storage.files import read_json, write_json
from pipeline.system.errors import PipelineError
from pipeline.training.augmentation_preview import write_preview
from pipeline.training.data import TrainingData, training_data
from pipeline.training.fit import FitContext
from pipeline.training.hardware import description, set_up
from pipeline.training.history import Row, summary, write_rates

log = logging.getLogger(__name__)


def run(
    settings: FinetuneSettings,
    places: Places,
    inputs: Path,
    out: Path,
    *,
    listener: Callable[[Row], None],
    checkpoints: Path | None = None,
) -> dict[str, str]:
    """Write model.keras, history.csv, rates.csv, metrics.json and augmentation.npz to `out`.

    Args:
        settings: of this stage.
        places: the images, and the cache.
        inputs: folder of the earlier stages.
        out: to write into.
        listener: called with each epoch's figures.
        checkpoints: folder from which a training that was cut off resumes; None: it is not resumable.

    Returns:
        what the result depends on beside the settings.

    Raises:
        DivergedError: the loss is no number any more, or far above that of guessing.
        PipelineError: a frozen BatchNormalization has changed, or there is no such unfreeze depth.
    """
    strategy = set_up(settings.hardware, settings.seed)
    manifest = read_manifest(inputs / "prepare")
    phase_1 = read_json(inputs / "train" / "metrics.json")
    with strategy.scope():
        model, classes = load_classifier(inputs / "train" / "model.keras")
    backbone = model.get_layer("backbone")

    def data_at(size: int) -> TrainingData:
        return training_data(
            manifest,
            places.images,
            size,
            Cache(places.cache),
            backbone=settings.backbone,
            hardware=settings.hardware,
            variants=Variants(settings.augment, settings.seed),
        )

    data = data_at(settings.image_size)
    rounds = finetune_rounds(settings.finetune, settings.backbone, backbone, len(data.train_indices))
    before = batch_norm_digest(backbone)
    context = FitContext(settings.seed, settings.augment, settings.hardware, strategy, listener, checkpoints)
    tuned = FineTuner(model, settings.backbone, data_at, context, phase_1["epochs"]).run(rounds)
    if settings.finetune.freeze_batch_norm and batch_norm_digest(backbone) != before:
        raise PipelineError(
            "BatchNormalization changed although finetune.freeze_batch_norm is on; this result can't be trusted, please report it"
        )

    rows = [row for each in tuned.rounds for row in each.rows]
    metrics = summary(rows, tuned.kept, tuned.parts.trainable, model)
    metrics["unfreeze"] = rounds[-1].settings.unfreeze
    metrics["unfreeze_rounds"] = describe_depths(rounds)
    metrics["first_layer"] = rounds[-1].first_layer
    metrics["phase_epochs"] = [len(each.rows) for each in tuned.rounds]
    metrics["kept_share"] = tuned.kept["share"]
    metrics["best"] = better_phase(phase_1, metrics)
    if metrics["best"] == "train":
        log.warning(
            "Fine-tuning ended below phase 1 on validation (accuracy, then loss): the model of phase 1 is the better one. "
            "A lower finetune.learning_rate may help (python -m pipeline.find_lr), or more images"
        )
    save_classifier(model, classes, out / "model.keras")
    pd.DataFrame(rows).to_csv(out / "history.csv", index=False)
    rates = np.concatenate([each.rates for each in tuned.rounds])
    write_rates([row["epoch"] for row in rows], rates, out / "rates.csv")
    write_json(out / "metrics.json", metrics)
    write_preview(settings.augment, data, settings.seed, out / "augmentation.npz", mixed=True)
    return description() | {"finetune.precision": tuned.parts.precision}
