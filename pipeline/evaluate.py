"""Stage evaluate: both phases' models on the test pictures, which no stage before has trained on or chosen by."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main("evaluate")

import logging
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.cache import Cache
from pipeline.checkout import resolve
from pipeline.config import Config
from pipeline.data.batches import batches, in_order
from pipeline.data.listing import pictures_folder
from pipeline.data.manifest import class_indices, read_manifest
from pipeline.data.pictures import Pictures
from pipeline.errors import PipelineError
from pipeline.features import FrozenBelow, FrozenWork
from pipeline.files import read_json, write_json
from pipeline.hardware import description, set_up
from pipeline.imbalance import prior_adjusted_accuracy
from pipeline.metrics import confusion, per_class, summarise
from pipeline.models.archive import load_classifier
from pipeline.models.parts import Parts, parts_for_feature_extraction, parts_for_finetuning
from pipeline.plots import plot_confusion, plot_per_class
from pipeline.terminal import progress

log = logging.getLogger(__name__)

INPUTS = ("prepare", "train", "finetune")
PHASES = ("train", "finetune")


def run(config: Config, inputs: Path, out: Path, _report: Callable) -> dict[str, str]:
    """Write metrics.json, predictions.parquet, per_class.csv, confusion.csv and plots/ to `out`.

    Returns:
        what the result depends on beside the configuration.
    """
    set_up(config.hardware, config.seed)
    cache, precision = Cache(resolve(config.cache_folder)), config.hardware.precision
    manifest = read_manifest(inputs / "prepare")
    rows, labels = manifest.split("test"), class_indices(manifest.split("test"), manifest.classes)
    pictures = Pictures(
        pictures_folder(config.dataset),
        rows,
        config.image_size,
        cache,
        config.hardware.picture_cache_gib,
        "decoding, test",
    )
    probabilities = {}
    # From fine-tuning's cut, which lies lower, the way to the whole frozen backbone is short.
    for phase in reversed(PHASES):
        model, classes = load_classifier(inputs / phase / "model.keras")
        if classes != manifest.classes:
            raise PipelineError(
                f"{inputs / phase} was trained on the classes {classes}, the test pictures have {manifest.classes}; run {phase} again"
            )
        if phase == "train":
            parts = parts_for_feature_extraction(model, config.backbone, precision)
        else:
            parts = parts_for_finetuning(model, config.backbone, config.finetune, precision)
        probabilities[phase] = predict(parts, pictures, np.arange(len(rows)), config, cache)

    best = read_json(inputs / "finetune" / "metrics.json")["best"]
    metrics = {phase: summarise(labels, probabilities[phase], config.evaluate.confidence) for phase in PHASES}
    training = class_indices(manifest.split("train"), manifest.classes)
    for phase in PHASES:
        figures = metrics[phase]
        figures["prior_adjusted_accuracy"] = prior_adjusted_accuracy(
            labels, probabilities[phase].argmax(axis=1), training
        )
        log.info(
            "%s: test accuracy %.4f (%.4f to %.4f), macro F1 %.4f%s",
            phase, figures["accuracy"], figures["accuracy_low"], figures["accuracy_high"], figures["macro_f1"], ", the best on validation" * (phase == best),
        )  # fmt: skip
    write_json(out / "metrics.json", {"best": best, **metrics})
    _write_predictions(rows, probabilities, best, manifest.classes, out / "predictions.parquet")
    _write_classes(labels, probabilities, manifest.classes, out)
    return description()


def predict(parts: Parts, pictures: Pictures, places: np.ndarray, config: Config, cache: Cache) -> np.ndarray:
    """Class probabilities of the plain pictures at `places`, in order, in the arithmetic of their training: float32 [n, classes]."""
    batch_size = config.evaluate.batch_size
    frozen_work, network = FrozenWork(pictures, config, cache), parts.trainable
    if frozen_work.worth_keeping(parts.frozen, len(pictures)):
        inputs = frozen_work.kept(parts.frozen, places, 1, "frozen part")
    else:
        inputs, network = frozen_work.pictures(places, 1), FrozenBelow(parts.frozen, parts.trainable)
    data = batches(inputs, np.zeros(len(places), np.int64), 1, batch_size, in_order(len(places)))
    with parts.in_their_arithmetic(), progress("predicting", len(places)) as advance:
        watching = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: advance(min(batch_size, len(places) - batch * batch_size))
        )
        return network.predict(data, verbose=0, callbacks=[watching])


def _write_predictions(
    rows: pd.DataFrame, probabilities: dict[str, np.ndarray], best: str, classes: list[str], file: Path
) -> None:
    """One row a test image: path, label, the best phase's prediction and probabilities (in class order), and each phase's probabilities."""
    table = rows[["path", "label"]].copy()
    table["prediction"] = np.asarray(classes)[probabilities[best].argmax(axis=1)]
    table["probabilities"] = list(probabilities[best])
    for phase in PHASES:
        table[f"{phase}_probabilities"] = list(probabilities[phase])
    table.to_parquet(file, index=False)


def _write_classes(labels: np.ndarray, probabilities: dict[str, np.ndarray], classes: list[str], out: Path) -> None:
    """Tables and pictures of what is mistaken for what."""
    tables, counts = [], []
    for phase in PHASES:
        predicted = probabilities[phase].argmax(axis=1)
        table, matrix = per_class(labels, predicted, classes), confusion(labels, predicted, classes)
        plot_confusion(matrix, classes, f"Test split, after {phase}", out / "plots" / f"confusion_{phase}.png")
        plot_per_class(table, f"After {phase}", out / "plots" / f"per_class_{phase}.png")
        tables.append(table.assign(phase=phase))
        pairs = pd.MultiIndex.from_product([[phase], classes, classes], names=["phase", "true", "predicted"])
        counts.append(pd.DataFrame({"count": matrix.ravel()}, index=pairs))
    pd.concat(tables).set_index("phase").to_csv(out / "per_class.csv")
    pd.concat(counts).to_csv(out / "confusion.csv")
