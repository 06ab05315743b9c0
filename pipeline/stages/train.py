"""Stage train, phase 1: feature extraction. A new head is trained on the features of a frozen backbone."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipeline.config import Config
from pipeline.data.sources import image_folder
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.parts import parts_for_feature_extraction
from pipeline.models.saving import save_classifier
from pipeline.reports.training_charts import training_curves
from pipeline.storage.cache import Cache
from pipeline.storage.files import write_json
from pipeline.system.paths import resolve
from pipeline.training.augmentation_preview import write_augmentation
from pipeline.training.data import training_data
from pipeline.training.fit import fit_phase
from pipeline.training.hardware import description, set_up
from pipeline.training.history import Row, summary, write_rates
from pipeline.training.label_issues import write_label_issues
from pipeline.visuals.style import write_png

INPUTS = ("prepare",)


def run(
    config: Config, inputs: Path, out: Path, report: Callable[[Row], None], backup: Path | None = None
) -> dict[str, str]:
    """Write model.keras, history.csv, rates.csv, metrics.json, curves.png, augmentation.png, label_issues.csv and label_issues.html to `out`.

    `backup` is the folder from which a cut-off training goes on.

    Returns:
        what the result depends on beside the configuration.
    """
    strategy = set_up(config.hardware, config.seed)
    cache = Cache(resolve(config.cache_folder))
    manifest = read_manifest(inputs / "prepare")
    data = training_data(manifest, config, cache)
    with strategy.scope():
        model = build_classifier(config, len(manifest.classes))
    parts = parts_for_feature_extraction(model, config.backbone, config.hardware.precision)
    fitted = fit_phase(parts, data, config, config.train, strategy, cache, report, backup=backup)

    history = pd.DataFrame(fitted.rows)
    save_classifier(model, manifest.classes, out / "model.keras")
    history.to_csv(out / "history.csv", index=False)
    write_rates([row["epoch"] for row in fitted.rows], fitted.rates, out / "rates.csv")
    metrics = summary(fitted.rows, fitted.kept, parts.trainable, model)
    write_json(out / "metrics.json", metrics)
    write_png(training_curves([history], [metrics]), out / "curves.png")
    write_augmentation(config.augment, data, config.seed, "train", out / "augmentation.png")
    rows = manifest.split("train", "validation")
    write_label_issues(parts, data, rows, config, cache, image_folder(config.dataset), out)
    return description() | {"train.precision": parts.precision}
