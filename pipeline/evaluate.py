"""Stage evaluate: both phases' models on the test pictures, which no stage before has trained on or chosen by."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main("evaluate")

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.cache import Cache
from pipeline.checkout import resolve
from pipeline.config import Config
from pipeline.data.batches import Inputs, PictureInputs, batches, in_order
from pipeline.data.listing import pictures_folder
from pipeline.data.manifest import Manifest, class_indices, read_manifest
from pipeline.data.pictures import Pictures
from pipeline.data.views import fixed_views
from pipeline.errors import PipelineError
from pipeline.features import FrozenBelow, FrozenWork
from pipeline.files import read_json, write_json
from pipeline.hardware import description, set_up
from pipeline.imbalance import prior_adjusted_accuracy
from pipeline.metrics import summarise
from pipeline.models.archive import load_classifier
from pipeline.models.parts import Parts, parts_for_feature_extraction, parts_for_finetuning
from pipeline.results.calibration import at_temperature, calibration_figures, fit_temperature
from pipeline.results.illustration import illustrate
from pipeline.results.outcome import PHASES, Outcome, TestSet
from pipeline.results.paired import compare_hits
from pipeline.results.report import summary, verdict
from pipeline.results.robustness import COLUMNS, accuracy_under_corruptions, corrupted_figures
from pipeline.results.saved_model import ask_saved_model
from pipeline.terminal import progress
from pipeline.training.data import TrainingData, training_data

log = logging.getLogger(__name__)

INPUTS = ("prepare", "train", "finetune")


def run(config: Config, inputs: Path, out: Path, _report: Callable) -> dict[str, str]:
    """Write metrics.json, tables, plots/ and report.html to `out`; see dvc.yaml for all files.

    Returns:
        what the result depends on beside the configuration.
    """
    set_up(config.hardware, config.seed)
    cache = Cache(resolve(config.cache_folder))
    manifest = read_manifest(inputs / "prepare")
    test, chosen_by = test_set(manifest, config, cache), training_data(manifest, config, cache)
    # From fine-tuning's cut, which lies lower, the way to the whole frozen backbone is short.
    outcomes = {phase: _outcome(phase, inputs, test, chosen_by, config, cache) for phase in reversed(PHASES)}
    best = read_json(inputs / "finetune" / "metrics.json")["best"]
    metrics = _metrics(outcomes, best, test, chosen_by.labels[chosen_by.training], config)
    passes = len(fixed_views(config.evaluate.tta, config.image_size))
    metrics["saved_model"], milliseconds = ask_saved_model(outcomes[best], test, passes)
    robustness = _robustness(outcomes[best], test, config)
    if len(robustness):
        metrics["corrupted"] = corrupted_figures(robustness, outcomes[best].plain.argmax(axis=1) == test.labels, config)
    write_json(out / "metrics.json", metrics)
    write_json(out / "calibration.json", _temperatures(outcomes, config))
    write_json(out / "speed.json", {"prediction_milliseconds": milliseconds, "passes": passes})
    _write_predictions(test, {phase: outcomes[phase].probabilities for phase in PHASES}, best, out)
    robustness.to_csv(out / "corruptions.csv", index=False)
    (out / "summary.md").write_text(summary(config, metrics), encoding="utf-8")
    illustrate(outcomes, metrics, robustness, test, config, inputs, out)
    _tell(metrics, config.evaluate.confidence)
    return description()


def test_set(manifest: Manifest, config: Config, cache: Cache) -> TestSet:
    """The test pictures of a manifest, decoded."""
    rows = manifest.split("test")
    folder, budget = pictures_folder(config.dataset), config.hardware.picture_cache_gib
    pictures = Pictures(folder, rows, config.image_size, cache, budget, "decoding, test")
    return TestSet(rows, class_indices(rows, manifest.classes), pictures, manifest.classes)


def predict(
    parts: Parts, pictures: Pictures, places: np.ndarray, config: Config, cache: Cache, count: int | None = None
) -> np.ndarray:
    """Class probabilities of the pictures at `places`, in order, in the arithmetic of their training: float32 [passes, n, classes].

    The first pass is of the plain pictures, the others of `evaluate.tta`'s views of them. Frozen work on the plain ones is kept if `count`
    pictures and views of it are worth keeping: what training decided on, or all of these pictures.
    """
    frozen_work, each = FrozenWork(pictures, config, cache), np.zeros(len(places), np.int64)
    # Folded when it is needed first.
    below = functools.cache(lambda: FrozenBelow(parts.frozen, parts.trainable))
    plain: tuple[Inputs, keras.Model]
    if frozen_work.worth_keeping(parts.frozen, count or len(pictures)):
        plain = frozen_work.kept(parts.frozen, places, 1, "frozen part"), parts.trainable
    else:
        plain = frozen_work.pictures(places), below()
    varied = [
        (PictureInputs(pictures, places, [view.of(each)]), below())
        for view in fixed_views(config.evaluate.tta, pictures.size)[1:]
    ]
    return np.stack([_pass(parts, inputs, network, len(places), config) for inputs, network in (plain, *varied)])


def _pass(parts: Parts, inputs: Inputs, network: keras.Model, count: int, config: Config) -> np.ndarray:
    batch_size = config.evaluate.batch_size
    data = batches(inputs, np.zeros(count, np.int64), 1, batch_size, in_order(count))
    with parts.in_their_arithmetic(), progress("predicting", count) as advance:
        watching = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: advance(min(batch_size, count - batch * batch_size))
        )
        return network.predict(data, verbose=0, callbacks=[watching])


def _outcome(phase: str, inputs: Path, test: TestSet, chosen_by: TrainingData, config: Config, cache: Cache) -> Outcome:
    model, classes = load_classifier(inputs / phase / "model.keras")
    if classes != test.classes:
        raise PipelineError(
            f"{inputs / phase} was trained on the classes {classes}, the test pictures have {test.classes}; run {phase} again"
        )
    precision = config.hardware.precision
    if phase == "train":
        parts = parts_for_feature_extraction(model, config.backbone, precision)
    else:
        # What a rule chose, and the last of several phases.
        depth = read_json(inputs / phase / "metrics.json")["unfreeze"]
        parts = parts_for_finetuning(model, config.backbone, replace(config.finetune, unfreeze=depth), precision)
    passes = predict(parts, test.pictures, np.arange(len(test.rows)), config, cache)
    shown = chosen_by.shown(config, getattr(config, phase))
    validation = predict(parts, chosen_by.pictures, chosen_by.validation, config, cache, shown)
    labels = chosen_by.labels[chosen_by.validation]
    as_trained, temperature = passes.mean(axis=0), fit_temperature(labels, validation.mean(axis=0))
    calibrated = at_temperature(as_trained, temperature)
    used = calibrated if config.evaluate.calibrate else as_trained
    own = fit_temperature(labels, validation[0])
    return Outcome(model, parts, passes[0], own, as_trained, calibrated, temperature, used)


def _temperatures(outcomes: dict[str, Outcome], config: Config) -> dict[str, Any]:
    """What calibration.json holds: whether calibration is applied, and the temperature of each model by itself and with test-time augmentation."""
    tta = {"kind": config.evaluate.tta} | {phase: outcomes[phase].temperature for phase in PHASES}
    return {
        "applied": config.evaluate.calibrate,
        **{phase: outcomes[phase].own_temperature for phase in PHASES},
        "tta": tta if config.evaluate.tta != "none" else None,
    }


def _metrics(
    outcomes: dict[str, Outcome], best: str, test: TestSet, training: np.ndarray, config: Config
) -> dict[str, Any]:
    """What metrics.json holds: each phase's figures, and whether the second was better than the first on the same images.

    `training`: class indices of the training pictures, int [n].
    """
    settings, labels = config.evaluate, test.labels
    metrics: dict[str, Any] = {"best": best}
    for phase in PHASES:
        outcome = outcomes[phase]
        metrics[phase] = summarise(labels, outcome.probabilities, settings, config.seed)
        metrics[phase]["prior_adjusted_accuracy"] = prior_adjusted_accuracy(labels, outcome.predicted, training)
        metrics[phase]["calibration"] = {
            "temperature": outcome.temperature,
            **calibration_figures(labels, outcome.as_trained, settings.calibration_bins, "before"),
            **calibration_figures(labels, outcome.calibrated, settings.calibration_bins, "after"),
        }
    hits = [outcomes[phase].predicted == labels for phase in PHASES]
    metrics["comparison"] = compare_hits(*hits, settings.confidence).named()
    return metrics


def _robustness(outcome: Outcome, test: TestSet, config: Config) -> pd.DataFrame:
    if config.evaluate.corruptions == "none":
        return pd.DataFrame(columns=COLUMNS)
    network = FrozenBelow(outcome.parts.frozen, outcome.parts.trainable)
    pixels = tf.TensorSpec((None, config.image_size, config.image_size, 3), tf.uint8)
    predict = tf.function(lambda batch: network(batch, training=False), input_signature=[pixels])
    with outcome.parts.in_their_arithmetic():
        return accuracy_under_corruptions(test.pictures, test.labels, lambda batch: predict(batch).numpy(), config)


def _write_predictions(test: TestSet, probabilities: dict[str, np.ndarray], best: str, out: Path) -> None:
    """One row a test image: path, label, sha256, the best phase's prediction and probabilities (in class order), and each phase's."""
    table = test.rows[["path", "label", "sha256"]].copy()
    table["prediction"] = np.asarray(test.classes)[probabilities[best].argmax(axis=1)]
    table["probabilities"] = list(probabilities[best])
    for phase in PHASES:
        table[f"{phase}_probabilities"] = list(probabilities[phase])
    table.to_parquet(out / "predictions.parquet", index=False)


def _tell(metrics: dict[str, Any], confidence: float) -> None:
    for phase in PHASES:
        figures = metrics[phase]
        log.info(
            "%s: test accuracy %.4f (%.4f to %.4f), macro F1 %.4f (%.4f to %.4f), ECE %.4f%s",
            phase, figures["accuracy"], figures["accuracy_low"], figures["accuracy_high"], figures["macro_f1"],
            figures["macro_f1_low"], figures["macro_f1_high"], figures["ece"],
            ", the best on validation" * (phase == metrics["best"]),
        )  # fmt: skip
    saved = metrics["saved_model"]
    log.info(
        "The saved model, float32 throughout, gives the evaluated class to %.1f %% of %d test images, probabilities within %.2g",
        100 * saved["same_class"], saved["images"], saved["largest_difference"],
    )  # fmt: skip
    log.info(verdict(metrics["comparison"], confidence))
