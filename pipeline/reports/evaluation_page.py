"""HTML report of an evaluation, and its summary in Markdown."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.config import PHASES
from pipeline.evaluation.metrics import METRICS, stored_name
from pipeline.reports.evaluation import Evaluation
from pipeline.storage.files import Json
from pipeline.visuals.pages import data_uri, p_value, write_page
from pipeline.visuals.style import as_svg

PHASE_NAMES = {"train": "feature extraction", "finetune": "fine-tuned"}
_MAX_CONFUSIONS = 10


def write_report(file: Path, evaluation: Evaluation, charts: dict[str, Figure]) -> None:
    """Write the HTML report of an evaluation.

    Args:
        file: Output HTML file.
        evaluation: Evaluation to report.
        charts: Charts returned by `pipeline.reports.evaluation_charts.evaluation_charts`, and the chart `training`.
    """
    best, figures, metrics = evaluation.best, evaluation.best_metrics, evaluation.metrics
    experiment, settings = evaluation.experiment, evaluation.experiment["evaluate"]
    phase = f"{PHASE_NAMES[best]} (unfreeze: {evaluation.unfreeze})" if best == "finetune" else PHASE_NAMES[best]
    curves, count = evaluation.curves["class"].nunique(), len(evaluation.classes)
    write_page(
        "report.html",
        file,
        title=f"{experiment['backbone']['name']} on {experiment['dataset']['name']}",
        subtitle=f"{phase}, the better phase on validation; {figures['images']} test images; seed {experiment['seed']}",
        best=best,
        phases=PHASES,
        phase_names=PHASE_NAMES,
        figures=metrics,
        headline=headline(figures),
        confidence=settings["confidence"],
        comparison=metrics["comparison"],
        verdict=verdict(metrics["comparison"], settings["confidence"]),
        calibration=figures["calibration"],
        calibration_note=calibration_note(figures["calibration"], applied=settings["calibrate"]),
        corrupted=metrics.get("corrupted"),
        charts={name: as_svg(figure) for name, figure in charts.items() if name not in ("mistakes", "hits")},
        confusions=top_confusions(evaluation.confusion, evaluation.classes),
        curves_note=f"; the {curves} classes of {count} with the lowest AUC" if 1 < curves < count else "",
        settings=sorted(_flat(experiment).items()),
        **{kind: _cards(evaluation.of_kind(kind)) for kind in ("mistakes", "hits")},
    )


def _flat(sections: Json) -> Json:
    """Convert settings by section to settings by dotted key."""
    flat: Json = {}
    for name, value in sections.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _cards(gallery: pd.DataFrame) -> list[dict]:
    """Convert the gallery to dictionaries, with images and overlays encoded as data URIs."""
    uris = {f"{name}_uri": gallery[name].map(data_uri) for name in ("image", "overlay")}
    return gallery.assign(**uris).to_dict("records")


def summary(evaluation: Evaluation) -> str:
    """Summarise the results of an experiment in a few lines of Markdown."""
    figures, metrics, experiment = evaluation.best_metrics, evaluation.metrics, evaluation.experiment
    lines = [
        f"Test accuracy **{figures['accuracy']:.4f}** ({figures['accuracy_low']:.4f} to {figures['accuracy_high']:.4f}) "
        f"on {figures['images']} images: "
        f"**{experiment['backbone']['name']}** on **{experiment['dataset']['name']}**, {PHASE_NAMES[evaluation.best]} (the better phase on validation), "
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


def verdict(comparison: dict[str, float], confidence: float) -> str:
    """State in one sentence whether fine-tuning changed the accuracy significantly."""
    difference, p = comparison["accuracy_difference"], comparison["mcnemar_p"]
    interval = f"{comparison['accuracy_difference_low']:+.4f} to {comparison['accuracy_difference_high']:+.4f}"
    if p >= 1 - confidence:
        effect = "did not change accuracy significantly"
    else:
        effect = "improved accuracy" if difference > 0 else "reduced accuracy"
    return f"Fine-tuning {effect}: {difference:+.4f} ({interval}; McNemar's exact test: p {p_value(p)})."


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


def top_confusions(counts: np.ndarray, classes: list[str]) -> list[Json]:
    """List the most frequent mistakes in a confusion matrix, int [classes, classes].

    Returns:
        Dictionaries with the keys true, predicted, count and fraction (of the images of the true class).
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    return [
        {"true": classes[row], "predicted": classes[column], "count": int(count), "fraction": count / counts[row].sum()}
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if (count := wrong[row, column])
    ]
