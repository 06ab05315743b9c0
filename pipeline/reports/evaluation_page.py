"""What an evaluation found, in words and on one page."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import NOT_PART_OF_EXPERIMENT, Config
from pipeline.evaluation.gallery import GalleryImage
from pipeline.visuals.pages import p_value, write_page
from pipeline.visuals.thumbnails import data_uri

PHASE_NAMES = {"train": "feature extraction", "finetune": "fine-tuned"}
_MOST_CONFUSIONS = 10
_HEADLINE = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration (ECE)",
}


def headline(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Words and name of each figure of a phase that stands in tables."""
    tops = [name for name in figures if name.startswith("top") and name.endswith("_accuracy")]
    names = _HEADLINE | {name: f"top-{name.removeprefix('top').removesuffix('_accuracy')} accuracy" for name in tops}
    return [(words, name) for name, words in names.items() if name in figures]


def verdict(comparison: dict[str, float], confidence: float) -> str:
    """Whether fine-tuning helped, in a sentence."""
    difference, p = comparison["accuracy_difference"], comparison["mcnemar_p"]
    between = f"{comparison['accuracy_difference_low']:+.4f} to {comparison['accuracy_difference_high']:+.4f}"
    if p >= 1 - confidence:
        return (
            f"These test images can't tell whether fine-tuning helped: it changed accuracy by {difference:+.4f} ({between}), "
            f"and McNemar's exact test gives p {p_value(p)}."
        )
    did = "helped" if difference > 0 else "did harm"
    return f"Fine-tuning {did}: it changed accuracy by {difference:+.4f} ({between}; McNemar's exact test: p {p_value(p)})."


def calibration_note(calibration: dict[str, float], applied: bool) -> str:
    """What the temperature does, and whether it is in the model."""
    temperature = calibration["temperature"]
    leaning = "too sure of itself" if temperature > 1 else "less sure than it could be"
    return f"Validation images ask for a temperature of {temperature:.3f}: the model is {leaning}. " + (
        "evaluate.calibrate is on: all figures here, and the model that is logged, have it."
        if applied
        else "It is reported only; evaluate.calibrate=true puts it into the model."
    )


def summary(config: Config, metrics: dict[str, Any]) -> str:
    """A few lines of Markdown that tell an experiment's result."""
    best, phases = metrics["best"], ("train", "finetune")
    found = metrics[best]
    lines = [
        f"Test accuracy **{found['accuracy']:.4f}** ({found['accuracy_low']:.4f} to {found['accuracy_high']:.4f}) on {found['images']} images: "
        f"**{config.backbone.name}** on **{_data_name(config)}**, {PHASE_NAMES[best]} (the better phase on validation), seed {config.seed}. "
        + verdict(metrics["comparison"], config.evaluate.confidence),
        "",
        "| | " + " | ".join(PHASE_NAMES[phase] for phase in phases) + " |",
        "| --- | --- | --- |",
    ]
    for words, name in headline(metrics[best]):
        lines.append(f"| {words} | " + " | ".join(_told(metrics[phase], name) for phase in phases) + " |")
    return "\n".join(lines) + "\n"


def write_report(
    file: Path,
    config: Config,
    metrics: dict[str, Any],
    charts: dict[str, str],
    shown: dict[str, list[GalleryImage]],
    extra: dict[str, Any],
) -> None:
    """Write the page.

    Args:
        file: HTML to write.
        config: of the experiment.
        metrics: as metrics.json has them.
        charts: SVG elements by name.
        shown: the gallery's images, `mistakes` and `hits`.
        extra: confusions (see `top_confusions`), curves_note, and unfreeze: the depth at which fine-tuning ended.
    """
    best = metrics["best"]
    settings = sorted(
        pair
        for section, values in asdict(config).items()
        if section not in ("tracking", *NOT_PART_OF_EXPERIMENT)
        for pair in (
            [(f"{section}.{key}", value) for key, value in values.items()]
            if isinstance(values, dict)
            else [(section, values)]
        )
    )
    write_page(
        "report.html",
        file,
        title=f"{config.backbone.name} on {_data_name(config)}",
        subtitle=f"{PHASE_NAMES[best]} (unfreeze: {extra['unfreeze']})" * (best == "finetune")
        + PHASE_NAMES[best] * (best == "train")
        + f", the better phase on validation; {metrics[best]['images']} test images; seed {config.seed}",
        best=best,
        phases=tuple(PHASE_NAMES),
        phase_names=PHASE_NAMES,
        figures=metrics,
        headline=headline(metrics[best]),
        confidence=config.evaluate.confidence,
        comparison=metrics["comparison"],
        verdict=verdict(metrics["comparison"], config.evaluate.confidence),
        calibration=metrics[best]["calibration"],
        calibration_note=calibration_note(metrics[best]["calibration"], config.evaluate.calibrate),
        corrupted=metrics.get("corrupted"),
        charts=charts,
        settings=settings,
        **{name: [_card(each) for each in group] for name, group in shown.items()},
        **extra,
    )


def top_confusions(counts: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes of a confusion matrix int [classes, classes]: true, predicted, count, share of the true class."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [
        (row, column) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[row, column]
    ]
    return [
        {"true": classes[row], "predicted": classes[column], "count": int(wrong[row, column]), "share": wrong[row, column] / counts[row].sum()}
        for row, column in pairs
    ]  # fmt: skip


def confusion_rows(counts: np.ndarray, classes: list[str], phase: str) -> pd.DataFrame:
    """A confusion matrix as rows of phase, true, predicted, count: the pairs that occur."""
    rows, columns = np.nonzero(counts)
    names = np.asarray(classes, object)
    return pd.DataFrame(
        {"phase": phase, "true": names[rows], "predicted": names[columns], "count": counts[rows, columns]}
    )


def _data_name(config: Config) -> str:
    return Path(config.dataset.path).name if config.dataset.path else config.dataset.name


def _card(each: GalleryImage) -> dict[str, Any]:
    told = {name: getattr(each, name) for name in ("path", "label", "prediction", "confidence", "label_probability")}
    return told | {"image_uri": data_uri(each.image), "overlay_uri": data_uri(each.overlay)}


def _told(figures: dict[str, float], name: str) -> str:
    if f"{name}_low" not in figures:
        return f"{figures[name]:.4f} ({figures['ece_by_chance']:.4f} by chance)"
    return f"{figures[name]:.4f} ({figures[f'{name}_low']:.4f} to {figures[f'{name}_high']:.4f})"
