"""Stage train, phase 1: feature extraction. The backbone is frozen, and a new head learns from what it computes."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main("train")

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipeline.cache import Cache
from pipeline.charts import write_png
from pipeline.checkout import resolve
from pipeline.config import Config
from pipeline.data.listing import pictures_folder
from pipeline.data.manifest import read_manifest
from pipeline.files import write_json
from pipeline.hardware import description, set_up
from pipeline.label_issues import write_label_issues
from pipeline.models.archive import save_classifier
from pipeline.models.assembly import build_classifier
from pipeline.models.parts import parts_for_feature_extraction
from pipeline.plots import training_curves
from pipeline.training.augmentation import write_augmentation
from pipeline.training.data import training_data
from pipeline.training.epochs import Row
from pipeline.training.fit import fit_phase
from pipeline.training.outcome import summary, write_rates

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
    write_label_issues(parts, data, rows, config, cache, pictures_folder(config.dataset), out)
    return description() | {"train.precision": parts.precision}
