"""Stage train, phase 1: feature extraction. The backbone is frozen, and a new head learns from what it computes."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main("train")

from collections.abc import Callable
from pathlib import Path

import keras
import pandas as pd

from pipeline.config import Config
from pipeline.data.manifest import read_manifest
from pipeline.files import write_json
from pipeline.hardware import description, set_up
from pipeline.models.archive import save_classifier
from pipeline.models.assembly import build_classifier
from pipeline.models.freezing import freeze
from pipeline.plots import plot_curves
from pipeline.training import Row, fit_phase, training_pictures

INPUTS = ("prepare",)


def run(config: Config, inputs: Path, out: Path, report: Callable[[Row], None]) -> dict[str, str]:
    """Write model.keras, history.csv, metrics.json and curves.png to `out`.

    Returns:
        what the result depends on beside the configuration.
    """
    strategy = set_up(config.hardware, config.seed)
    manifest = read_manifest(inputs / "prepare")
    data = training_pictures(manifest, config)
    with strategy.scope():
        model = build_classifier(config, len(manifest.classes))
        frozen, trainable = split_for_training(model, pretrained=config.backbone.constructor != "scratch_cnn")
        fitted = fit_phase(frozen, trainable, data, manifest, config, config.train, config.train.learning_rate, report)

    history = pd.DataFrame(fitted.rows)
    save_classifier(model, manifest.classes, out / "model.keras")
    history.to_csv(out / "history.csv", index=False)
    write_json(out / "metrics.json", fitted.summary(trainable, model))
    plot_curves(history, fitted.kept["epoch"], out / "curves.png")
    return description()


def split_for_training(model: keras.Model, pretrained: bool) -> tuple[keras.Model, keras.Model]:
    """A classifier's frozen and its trainable part: all up to the pooled features, and the head.

    A backbone that nobody has pretrained has nothing worth freezing: then the preprocessing alone is frozen.
    """
    preprocessing, backbone, pooling, head = (
        model.get_layer(name) for name in ("preprocessing", "backbone", "pooling", "head")
    )
    if not pretrained:
        return preprocessing, keras.Sequential([backbone, pooling, head])
    freeze(backbone)
    pixels = preprocessing.inputs[0]
    return keras.Model(pixels, pooling(backbone(preprocessing.outputs[0]))), head
