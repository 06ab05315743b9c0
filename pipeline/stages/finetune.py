"""Stage finetune (phase 2): fine-tune the backbone of phase 1's model, in part or as a whole."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.config.image import Decoding
from pipeline.config.size import Size
from pipeline.finetuning.finetuner import better_phase, fine_tune
from pipeline.finetuning.rounds import finetune_rounds
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import BACKBONE
from pipeline.models.freezing import batch_norm_digest
from pipeline.models.saving import load_classifier, save_classifier
from pipeline.stages.settings import FinetuneSettings, Places
from pipeline.storage.files import read_json, write_json
from pipeline.system.errors import PipelineError
from pipeline.training import Row
from pipeline.training.features import TrainingData, training_data
from pipeline.training.fit import FitContext
from pipeline.training.hardware import describe_environment, set_up
from pipeline.training.outputs import summary, write_history, write_preview

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
        settings: Settings of this stage.
        places: Folders of the images and the cache.
        inputs: Folder of the earlier stages' outputs.
        out: Folder that the outputs are written to.
        listener: Function called with the metrics of each epoch.
        checkpoints: Folder of checkpoints from which the training resumes; None: it can't be resumed.

    Returns:
        Environment that the result depends on, for run.json.

    Raises:
        DivergedError: The loss is not finite, or far above that at the start and that of guessing.
        PipelineError: A frozen BatchNormalization layer has changed, or an unfreeze depth is unknown.
    """
    strategy = set_up(settings.hardware, settings.seed)
    manifest = read_manifest(inputs / "prepare")
    phase_1 = read_json(inputs / "train" / "metrics.json")
    with strategy.scope():
        model, classes = load_classifier(inputs / "train" / "model.keras")
    backbone = model.get_layer(BACKBONE)

    def data_at(size: Size) -> TrainingData:
        return training_data(manifest, places.images, replace(settings, image_size=size), places.cache)

    data = data_at(settings.image_size)
    rounds = finetune_rounds(settings.finetune, settings.backbone, backbone, len(data.train_indices))
    before = batch_norm_digest(backbone)
    context = FitContext(settings.seed, settings.augment, settings.hardware, strategy, listener, checkpoints)
    tuned = fine_tune(
        model, rounds, backbone=settings.backbone, data_at=data_at, context=context, epochs_before=phase_1["epochs"]
    )
    if settings.finetune.freeze_batch_norm and batch_norm_digest(backbone) != before:
        raise PipelineError(
            "BatchNormalization layers changed although finetune.freeze_batch_norm is true; the result is discarded. "
            "Report this bug"
        )

    rows = [row for each in tuned.rounds for row in each.rows]
    metrics = summary(rows, tuned.kept, tuned.parts.trainable, model) | {
        "unfreeze": rounds[-1].settings.unfreeze,
        "unfreeze_rounds": ", then ".join(str(each.settings.unfreeze) for each in rounds),
        "first_layer": rounds[-1].first_layer,
        "phase_epochs": [len(each.rows) for each in tuned.rounds],
        "kept_share": tuned.kept["alpha"],
    }
    metrics["best"] = better_phase(phase_1, metrics)
    if metrics["best"] == "train":
        log.warning(
            "Fine-tuning did not improve on phase 1 on the validation images (accuracy, then loss): the model of phase "
            "1 is the better one. Try a lower finetune.learning_rate (see `python -m pipeline.find_lr`), or more images"
        )
    decoding = Decoding.of(settings.image_size, settings.image, manifest.depth)
    save_classifier(model, classes, out / "model.keras", decoding)
    write_history(rows, np.concatenate([each.rates for each in tuned.rounds]), out)
    write_json(out / "metrics.json", metrics)
    write_preview(data, context, out / "augmentation.npz", mixed=True)
    return describe_environment() | {"finetune.precision": tuned.parts.precision}
