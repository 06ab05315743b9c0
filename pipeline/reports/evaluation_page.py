"""HTML report of an evaluation, and its summary in Markdown."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.config import PHASES
from pipeline.config.differences import command_line, flat
from pipeline.evaluation.metrics import METRICS, Estimate, stored_name
from pipeline.reports.evaluation import Evaluation
from pipeline.reports.evaluation_charts import curve_charts, reliability_charts
from pipeline.reports.evaluation_tables import class_table, confusion_matrix, corruption_table, top_confusions
from pipeline.reports.image_map import image_map
from pipeline.storage.files import Json, text_sha256
from pipeline.visuals.pages import Thumbnail, cards, data_uri, heat_scale, p_value, write_page
from pipeline.visuals.style import Chart

PHASE_NAMES = {"train": "feature extraction", "finetune": "fine-tuned"}
# Metrics that are shown large.
_TILES = ("accuracy", "macro_f1", "loss", "ece")
# Side in cells below which a heat map says nothing about places.
_MIN_CELLS = 5


def write_report(file: Path, evaluation: Evaluation, training: list[Chart], images: Path) -> None:
    """Write the HTML report of an evaluation.

    Args:
        file: Output HTML file.
        evaluation: Evaluation to report.
        training: Charts returned by `pipeline.reports.training_charts.training_curves`.
        images: Base folder of the paths in the manifest.
    """
    best, figures, metrics = evaluation.best, evaluation.best_metrics, evaluation.metrics
    experiment, settings = evaluation.experiment, evaluation.experiment["evaluate"]
    phase = f"{PHASE_NAMES[best]} (unfreeze: {evaluation.unfreeze})" if best == "finetune" else PHASE_NAMES[best]
    auc = Estimate(figures["auc"], figures["auc_low"], figures["auc_high"]) if "auc" in figures else None
    corrupted, labels = metrics.get("corrupted"), {name: label for label, name in headline(figures)}
    write_page(
        "report.html",
        file,
        title=f"{experiment['backbone']['name']} on {_data(evaluation)}",
        subtitle=f"{phase}, the better phase on validation; {figures['images']} test images; seed {experiment['seed']}",
        best=best,
        phases=PHASES,
        phase_names=PHASE_NAMES,
        figures=metrics,
        headline=headline(figures),
        tiles=[(labels[name], name) for name in _TILES if name in labels],
        confidence=settings["confidence"],
        verdict=verdict(metrics["comparison"], settings["confidence"]),
        calibration=figures["calibration"],
        calibration_note=calibration_note(figures["calibration"], applied=settings["calibrate"]),
        training=training,
        curves=curve_charts(evaluation.curves, auc) if auc else [],
        reliability=reliability_charts(evaluation.reliability, figures["calibration"]),
        mapped=image_map(evaluation.mapped, evaluation.vectors, evaluation.classes),
        matrix=confusion_matrix(evaluation.confusion, evaluation.classes),
        confusions=top_confusions(evaluation.confusion, evaluation.classes),
        by_class=class_table(evaluation.per_class),
        corrupted=corrupted,
        corruptions=corruption_table(evaluation.corruptions, corrupted["clean"]) if corrupted else None,
        cells=evaluation.cells,
        min_cells=_MIN_CELLS,
        heat_scale=heat_scale(),
        digests=evaluation.digests,
        configuration_key=text_sha256(json.dumps(experiment, sort_keys=True))[:16],
        command=command_line(evaluation.differences),
        changed=evaluation.differences,
        settings=sorted(flat(experiment).items()),
        neighbours=_neighbours(evaluation.neighbours, images),
        **{kind: _cards(evaluation.of_kind(kind)) for kind in ("mistakes", "hits")},
    )


def _cards(gallery: pd.DataFrame) -> list[dict]:
    """Convert the gallery to dictionaries, with images and overlays encoded as data URIs."""
    uris = {f"{name}_uri": gallery[name].map(data_uri) for name in ("image", "overlay")}
    return gallery.assign(**uris).to_dict("records")


def _neighbours(table: pd.DataFrame, images: Path) -> dict[str, list[dict[str, object]]]:
    """Return what the page shows of the most similar training images, by the path of the test image."""
    found = cards([Thumbnail(images, path, label) for path, label in table[["neighbour", "label"]].to_numpy()])
    shown: dict[str, list[dict[str, object]]] = {}
    for path, card in zip(table["path"], found, strict=True):
        shown.setdefault(path, []).append(card)
    return shown


def _data(evaluation: Evaluation) -> str:
    """Return the name of the data set, or its number of classes, since results do not depend on a folder's name."""
    dataset = evaluation.experiment["dataset"]
    return f"{len(evaluation.classes)} classes" if dataset["source"] in ("folder", "csv") else dataset["name"]


def summary(evaluation: Evaluation) -> str:
    """Summarise the results of an experiment in a few lines of Markdown."""
    figures, metrics, experiment = evaluation.best_metrics, evaluation.metrics, evaluation.experiment
    lines = [
        f"Test accuracy **{figures['accuracy']:.4f}** ({figures['accuracy_low']:.4f} to {figures['accuracy_high']:.4f}) "
        f"on {figures['images']} images: "
        f"**{experiment['backbone']['name']}** on **{_data(evaluation)}**, {PHASE_NAMES[evaluation.best]} (the better phase on validation), "
        f"seed {experiment['seed']}. " + verdict(metrics["comparison"], experiment["evaluate"]["confidence"]),
        "",
        "| | " + " | ".join(PHASE_NAMES[phase] for phase in PHASES) + " |",
        "| --- | --- | --- |",
    ]
    for label, name in headline(figures):
        cells = " | ".join(_format_interval(metrics[phase], name) for phase in PHASES)
        lines.append(f"| {label} | {cells} |")
    return "\n".join(lines) + "\n"


def _format_interval(figures: dict[str, float], name: str) -> str:
    if f"{name}_low" not in figures:
        return f"{figures[name]:.4f} ({figures['ece_by_chance']:.4f} by chance)"
    return f"{figures[name]:.4f} ({figures[f'{name}_low']:.4f} to {figures[f'{name}_high']:.4f})"


def headline(figures: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (label, name) of each metric in a phase's results, in display order."""
    top_k = next((int(match[1]) for name in figures if (match := re.fullmatch(r"top(\d+)_accuracy", name))), 0)
    named = {stored_name(name, top_k): metric for name, metric in METRICS.items()}
    return [(metric.label.format(k=top_k), name) for name, metric in named.items() if name in figures]


def verdict(comparison: Json, confidence: float) -> str:
    """Say in one sentence what fine-tuning changed, and whether it may be chance."""
    corrected, broke = comparison["gained"], comparison["lost"]
    points, low, high = (100 * comparison[f"accuracy_difference{end}"] for end in ("", "_low", "_high"))
    images = f"{corrected or 'no'} test image{'s' * (corrected != 1)}"
    sentence = f"Fine-tuning corrected {images} and broke {broke or 'none'}: {points:+z.1f} points"
    sentence += f" ({100 * confidence:.4g} % interval {low:z.1f} to {high:z.1f}; McNemar's exact test: p {p_value(comparison['mcnemar_p'])})"
    chance = comparison["mcnemar_p"] >= 1 - confidence and corrected + broke
    return sentence + (", which may be chance." if chance else ".")


def calibration_note(calibration: dict[str, float], *, applied: bool) -> str:
    """State the fitted temperature, and whether it is applied to the model."""
    temperature = calibration["temperature"]
    leaning = "overconfident" if temperature > 1 else "underconfident"
    effect = (
        "It is applied to all metrics in this report and to the logged model (evaluate.calibrate=true)."
        if applied
        else "It is not applied; set evaluate.calibrate=true to apply it to the model."
    )
    return f"The temperature fitted on the validation images is {temperature:.3f}: the model is {leaning}. {effect}"
