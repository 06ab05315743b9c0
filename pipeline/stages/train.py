"""Stage train (phase 1, feature extraction): train a new head on the features of a frozen backbone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.config.image import Decoding
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.parts import parts_for_feature_extraction
from pipeline.models.saving import save_classifier
from pipeline.stages.settings import Places, TrainSettings
from pipeline.storage.files import Json, write_json
from pipeline.training import Row
from pipeline.training.features import training_data
from pipeline.training.fit import FitContext, PhaseFit, fit_phase
from pipeline.training.hardware import describe_environment, set_up
from pipeline.training.label_issues import find_label_issues
from pipeline.training.linear_head import fit_head
from pipeline.training.outputs import summary, write_history, write_preview


def run(
    settings: TrainSettings,
    places: Places,
    inputs: Path,
    out: Path,
    *,
    listener: Callable[[Row], None],
    checkpoints: Path | None = None,
) -> dict[str, str]:
    """Write model.keras, history.csv, rates.csv, metrics.json, augmentation.npz and label_issues.csv to `out`.

    Args:
        settings: Settings of this stage.
        places: Folders of the images, the weights and the cache.
        inputs: Folder of the earlier stages' outputs.
        out: Folder that the outputs are written to.
        listener: Function called with the metrics of each epoch.
        checkpoints: Folder of checkpoints from which the training resumes; None: it can't be resumed.

    Returns:
        Environment that the result depends on, for run.json.

    Raises:
        DivergedError: The loss is not finite, or far above that at the start and that of guessing.
    """
    strategy = set_up(settings.hardware, settings.seed)
    manifest = read_manifest(inputs / "prepare")
    data = training_data(manifest, places.images, settings, places.cache)
    backbone = replace(settings.backbone, preset=str(places.preset)) if places.preset else settings.backbone
    with strategy.scope():
        size, count = settings.image_size, len(manifest.classes)
        model = build_classifier(backbone, settings.train, size, count, weights=places.weights)
    parts = parts_for_feature_extraction(model, settings.backbone, settings.hardware.precision)
    context = FitContext(settings.seed, settings.augment, settings.hardware, strategy, listener, checkpoints)
    task, rows = PhaseFit(parts, data, settings.train), manifest.split("train", "validation")
    if settings.train.head == "softmax":
        fitted, chosen = fit_phase(task, context), Json()
    else:
        fitted, chosen = fit_head(task, settings.train.head, rows, context)

    decoding = Decoding.of(settings.image_size, settings.image, manifest.depth)
    save_classifier(model, manifest.classes, out / "model.keras", decoding)
    write_history(fitted.rows, fitted.rates, out)
    write_json(out / "metrics.json", summary(fitted.rows, fitted.kept, parts.trainable, model) | chosen)
    write_preview(data, context, out / "augmentation.npz", mixed=False)
    issues = find_label_issues(parts, data, rows, settings.seed, enabled=settings.train.label_issues)
    issues.to_csv(out / "label_issues.csv", index=False)
    return describe_environment() | {"train.precision": parts.precision}
