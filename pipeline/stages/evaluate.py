"""Stage evaluate: both models on the test images, which no earlier stage has trained on or chosen by."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.config import Config
from pipeline.evaluation.calibration import calibration_figures
from pipeline.evaluation.metrics import prior_adjusted_accuracy, summarise
from pipeline.evaluation.phase_result import PHASES, Outcome, TestSet, _outcome, test_set
from pipeline.evaluation.robustness import COLUMNS, accuracy_under_corruptions, corrupted_figures
from pipeline.evaluation.saved_model import ask_saved_model
from pipeline.evaluation.significance import compare_hits
from pipeline.inputs.augmentation import fixed_views
from pipeline.inputs.manifest import read_manifest
from pipeline.models.parts import FrozenBelow
from pipeline.reports.evaluation import illustrate
from pipeline.reports.evaluation_page import summary, verdict
from pipeline.storage.cache import Cache
from pipeline.storage.files import read_json, write_json
from pipeline.system.paths import resolve
from pipeline.training.data import training_data
from pipeline.training.hardware import description, set_up

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
    test, train_validation = test_set(manifest, config, cache), training_data(manifest, config, cache)
    # From fine-tuning's cut, which lies lower, the way to the whole frozen backbone is short.
    outcomes = {phase: _outcome(phase, inputs, test, train_validation, config, cache) for phase in reversed(PHASES)}
    best = read_json(inputs / "finetune" / "metrics.json")["best"]
    metrics = _metrics(outcomes, best, test, train_validation.labels[train_validation.training], config)
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

    `training`: class indices of the training images, int [n].
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
        return accuracy_under_corruptions(test.images, test.labels, lambda batch: predict(batch).numpy(), config)


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
