"""Stage evaluate: evaluate the models of both phases on the test images, which no earlier stage has used."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.config import PHASES
from pipeline.evaluation import tables
from pipeline.evaluation.calibration import calibration_metrics
from pipeline.evaluation.corruptions import COLUMNS, accuracy_under_corruptions, corruption_metrics
from pipeline.evaluation.headline import headline
from pipeline.evaluation.metrics import prior_adjusted_accuracy
from pipeline.evaluation.neighbours import neighbours_table
from pipeline.evaluation.phase_model import PhaseModel
from pipeline.evaluation.phase_result import PhaseResult, TestSet, check_saved_model, evaluate_phase
from pipeline.evaluation.significance import compare_hits
from pipeline.evaluation.vectors import image_vectors
from pipeline.inputs.augmentation import fixed_views
from pipeline.inputs.manifest import class_indices, read_manifest
from pipeline.models.parts import FrozenBelow
from pipeline.stages.settings import EvaluateSettings, Places
from pipeline.storage.files import Json, read_json, write_json
from pipeline.training.features import open_images, training_data
from pipeline.training.hardware import describe_environment, set_up

log = logging.getLogger(__name__)


def run(settings: EvaluateSettings, places: Places, inputs: Path, out: Path) -> dict[str, str]:
    """Write metrics.json, headline.json, predictions.parquet, and the tables of charts to `out`; dvc.yaml lists all.

    Returns:
        Environment that the result depends on, for run.json.

    Raises:
        PipelineError: A model was trained on other classes than those of the test images.
    """
    evaluate, seed = settings.evaluate, settings.seed
    set_up(settings.hardware, seed)
    cache, manifest = places.cache, read_manifest(inputs / "prepare")
    rows, classes = manifest.split("test"), manifest.classes
    features = open_images(rows, places.images, settings, cache, title="decoding, test")
    test = TestSet(rows, class_indices(rows, classes), features.images, classes, features)
    train_validation = training_data(manifest, places.images, settings, cache)
    # Fine-tuning first: its cut is lower, and the features of the complete backbone are computed from those at the cut.
    results = {
        phase: evaluate_phase(
            PhaseModel(inputs / phase, classes, settings),
            test=test,
            train_validation=train_validation,
            settings=settings,
            cache=cache,
        )
        for phase in reversed(PHASES)
    }
    best = read_json(inputs / "finetune" / "metrics.json")["best"]
    training = train_validation.labels[train_validation.train_indices]
    metrics = {"best": best} | _metrics(results, test.labels, training, settings)
    passes = len(fixed_views(evaluate.tta, settings.image_size))
    metrics["saved_model"], milliseconds = check_saved_model(results[best], test, passes)
    robustness = _robustness(results[best], test, settings)
    if len(robustness):
        hits = results[best].single_view.raw.argmax(axis=1) == test.labels
        metrics["corrupted"] = corruption_metrics(robustness, hits, evaluate, seed)

    write_json(out / "metrics.json", metrics)
    write_json(out / "headline.json", headline(metrics))
    write_json(out / "calibration.json", _temperatures(results, settings))
    write_json(out / "speed.json", {"prediction_milliseconds": milliseconds, "passes": passes})
    tables.predictions_table(results, best, test).to_parquet(out / "predictions.parquet", index=False)
    for name, table in {
        "per_class": tables.per_class_table(results, test, evaluate.confidence),
        "confusion": tables.confusion_table(results, test),
        "predicted_classes": tables.predicted_classes_table(results, test),
        "reliability": tables.reliability_table(results[best], test, evaluate),
        "curves": tables.curves_table(results[best], test),
        "corruptions": robustness,
    }.items():
        table.to_csv(out / f"{name}.csv", index=False)
    shown, arrays = tables.gallery(results[best], test, evaluate.gallery)
    shown.to_csv(out / "gallery.csv", index=False)
    rows = manifest.split("train", "validation")
    neighbours = neighbours_table(shown, results["train"], test, train_validation, rows, cache)
    neighbours.to_csv(out / "neighbours.csv", index=False)
    vectors = image_vectors(results[best], test, evaluate.map_images, seed)
    np.savez_compressed(out / "gallery.npz", **arrays)  # type: ignore[arg-type]
    np.savez_compressed(out / "vectors.npz", **vectors)  # type: ignore[arg-type]
    _log_metrics(metrics)
    return describe_environment()


def _temperatures(results: dict[str, PhaseResult], settings: EvaluateSettings) -> Json:
    """Return the temperature of each model with and without test-time augmentation, and whether it is applied."""
    evaluate = settings.evaluate
    tta = {"kind": evaluate.tta} | {phase: results[phase].averaged.temperature for phase in PHASES}
    return {
        "applied": evaluate.calibrate,
        **{phase: results[phase].single_view.temperature for phase in PHASES},
        "tta": tta if evaluate.tta != "none" else None,
    }


def _metrics(
    results: dict[str, PhaseResult], labels: np.ndarray, training: np.ndarray, settings: EvaluateSettings
) -> Json:
    """Return the metrics of both phases, and their difference on the same images.

    Args:
        results: Result of each phase.
        labels: Labels of the test images, int [n].
        training: Labels of the training images, int [m].
        settings: Settings of this stage.
    """
    evaluate = settings.evaluate
    metrics: Json = {}
    for phase in PHASES:
        result = results[phase]
        metrics[phase] = tables.summarise(labels, result.probabilities, evaluate, settings.seed)
        metrics[phase]["prior_adjusted_accuracy"] = prior_adjusted_accuracy(labels, result.predicted, training)
        metrics[phase]["calibration"] = {
            "temperature": result.averaged.temperature,
            **calibration_metrics(labels, result.averaged.raw, evaluate.calibration_bins, "before"),
            **calibration_metrics(labels, result.averaged.scaled, evaluate.calibration_bins, "after"),
        }
    train_hits, finetune_hits = (results[phase].predicted == labels for phase in PHASES)
    metrics["comparison"] = compare_hits(train_hits, finetune_hits, evaluate.confidence).named()
    return metrics


def _robustness(result: PhaseResult, test: TestSet, settings: EvaluateSettings) -> pd.DataFrame:
    evaluate = settings.evaluate
    if evaluate.corruptions == "none":
        return pd.DataFrame(columns=COLUMNS)
    parts = result.model.parts
    network = FrozenBelow(parts.frozen, parts.trainable)
    pixels = tf.TensorSpec((None, *test.images.shape), tf.uint8)
    predict = tf.function(lambda batch: network(batch, training=False), input_signature=[pixels])
    with parts.in_their_arithmetic():
        return accuracy_under_corruptions(
            test.images,
            test.labels,
            predict=lambda batch: predict(batch).numpy(),
            evaluate=evaluate,
            seed=settings.seed,
        )


def _log_metrics(metrics: Json) -> None:
    for phase in PHASES:
        values = metrics[phase]
        log.info(
            "%s: test accuracy %.4f (%.4f to %.4f), macro F1 %.4f (%.4f to %.4f), ECE %.4f%s",
            phase, values["accuracy"], values["accuracy_low"], values["accuracy_high"], values["macro_f1"],
            values["macro_f1_low"], values["macro_f1_high"], values["ece"],
            ", best on validation" * (phase == metrics["best"]),
        )  # fmt: skip
    saved = metrics["saved_model"]
    log.info(
        "Saved model (float32) agrees with the evaluated predictions on %.1f %% of %d test images; "
        "probabilities differ by at most %.2g",
        100 * saved["same_class"], saved["images"], saved["largest_difference"],
    )  # fmt: skip
