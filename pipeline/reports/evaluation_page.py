"""The evaluation's charts, its page, and its summary in a few lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.config import PHASES
from pipeline.reports import evaluation_charts as draw
from pipeline.reports.tables import read_table
from pipeline.storage.files import read_json
from pipeline.visuals.pages import p_value, write_page
from pipeline.visuals.style import as_svg
from pipeline.visuals.thumbnails import data_uri, overlay

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


@dataclass(frozen=True)
class Evaluation:
    """What stage evaluate has left, as it is drawn."""

    experiment: dict[str, Any]
    """The settings, by section."""
    classes: list[str]
    metrics: dict[str, Any]
    """metrics.json."""
    unfreeze: int | str
    """The depth at which fine-tuning ended."""
    confusion: np.ndarray
    """Of the better phase, int [classes, classes]: rows are the true classes."""
    per_class: pd.DataFrame
    """Of the better phase."""
    reliability: pd.DataFrame
    curves: pd.DataFrame
    corruptions: pd.DataFrame
    gallery: list[draw.GalleryImage]

    @classmethod
    def read(cls, inputs: Path, experiment: dict[str, Any], classes: list[str]) -> "Evaluation":
        """What lies below `inputs`, the folder of the stages."""
        folder = inputs / "evaluate"
        metrics = read_json(folder / "metrics.json")
        tables = {name: read_table(folder / f"{name}.csv") for name in ("per_class", "confusion", "reliability")}
        best = {name: tables[name][tables[name]["phase"] == metrics["best"]] for name in ("per_class", "confusion")}
        return cls(
            experiment=experiment,
            classes=classes,
            metrics=metrics,
            unfreeze=read_json(inputs / "finetune" / "metrics.json")["unfreeze"],
            confusion=_matrix(best["confusion"], classes),
            per_class=best["per_class"],
            reliability=tables["reliability"],
            curves=read_table(folder / "curves.csv"),
            corruptions=read_table(folder / "corruptions.csv"),
            gallery=_gallery(folder),
        )

    @property
    def best(self) -> str:
        return self.metrics["best"]

    @property
    def figures(self) -> dict[str, Any]:
        """Of the better phase."""
        return self.metrics[self.best]

    @property
    def title(self) -> str:
        """Backbone and data set."""
        return f"{self.experiment['backbone']['name']} on {self.experiment['dataset']['name']}"

    def shown(self, kind: str) -> list[draw.GalleryImage]:
        """The gallery's mistakes or hits."""
        return [each for each in self.gallery if each.kind == kind]


def _matrix(table: pd.DataFrame, classes: list[str]) -> np.ndarray:
    counts = np.zeros((len(classes), len(classes)), np.int64)
    place = {name: index for index, name in enumerate(classes)}
    for row in table.itertuples():
        counts[place[row.true], place[row.predicted]] = row.count
    return counts


def _gallery(folder: Path) -> list[draw.GalleryImage]:
    with np.load(folder / "gallery.npz") as arrays:
        images, heatmaps = arrays["images"], arrays["heatmaps"]
    rows = read_table(folder / "gallery.csv").to_dict("records")
    return [
        draw.GalleryImage(**row, image=image, overlay=overlay(image, heatmap.astype(np.float32) / 255))
        for row, image, heatmap in zip(rows, images, heatmaps, strict=True)
    ]


def evaluation_charts(evaluation: Evaluation) -> dict[str, Figure]:
    """The charts by name, the galleries among them."""
    figures, classes = evaluation.figures, evaluation.classes
    reliability = dict(list(evaluation.reliability.groupby("temperature")))
    charts = {
        "confusion": draw.confusion_chart(evaluation.confusion, classes, "Test images"),
        "per_class": draw.per_class_chart(evaluation.per_class, "Precision and recall (images)"),
        "reliability": draw.reliability_chart(reliability["before"], reliability["after"], figures["calibration"]),
    }
    if len(evaluation.curves):
        mean = draw.Interval(figures["auc"], figures["auc_low"], figures["auc_high"])
        charts["roc"], charts["precision_recall"] = draw.curve_charts(evaluation.curves, mean)
    if len(evaluation.corruptions):
        clean = evaluation.metrics["corrupted"]
        undamaged = draw.Interval(clean["clean"], clean["clean_low"], clean["clean_high"])
        charts["corruptions"] = draw.corruption_chart(evaluation.corruptions, undamaged)
    titles = {"mistakes": "The most confident mistakes", "hits": "The least confident hits"}
    return charts | {kind: draw.gallery_chart(evaluation.shown(kind), title) for kind, title in titles.items()}


def write_report(file: Path, evaluation: Evaluation, charts: dict[str, Figure]) -> None:
    """Write the page.

    Args:
        file: HTML to write.
        evaluation: what it shows.
        charts: by name; see `evaluation_charts`, and `training`.
    """
    best, figures, metrics = evaluation.best, evaluation.figures, evaluation.metrics
    settings = evaluation.experiment["evaluate"]
    phase = f"{PHASE_NAMES[best]} (unfreeze: {evaluation.unfreeze})" if best == "finetune" else PHASE_NAMES[best]
    shown, count = evaluation.curves["class"].nunique(), len(evaluation.classes)
    write_page(
        "report.html",
        file,
        title=evaluation.title,
        subtitle=f"{phase}, the better phase on validation; {figures['images']} test images; seed {evaluation.experiment['seed']}",
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
        curves_note=f"; the {shown} classes of {count} with the lowest AUC" if 1 < shown < count else "",
        settings=sorted(_flat(evaluation.experiment).items()),
        mistakes=[_card(each) for each in evaluation.shown("mistakes")],
        hits=[_card(each) for each in evaluation.shown("hits")],
    )


def _flat(sections: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for section, values in sections.items():
        flat |= (
            {f"{section}.{key}": value for key, value in values.items()}
            if isinstance(values, dict)
            else {section: values}
        )
    return flat


def _card(each: draw.GalleryImage) -> dict[str, Any]:
    named = {name: getattr(each, name) for name in ("path", "label", "prediction", "confidence", "label_probability")}
    return named | {"image_uri": data_uri(each.image), "overlay_uri": data_uri(each.overlay)}


def summary(evaluation: Evaluation) -> str:
    """The experiment's result in a few lines of Markdown."""
    found, metrics, best = evaluation.figures, evaluation.metrics, evaluation.best
    experiment = evaluation.experiment
    lines = [
        f"Test accuracy **{found['accuracy']:.4f}** ({found['accuracy_low']:.4f} to {found['accuracy_high']:.4f}) on {found['images']} images: "
        f"**{experiment['backbone']['name']}** on **{experiment['dataset']['name']}**, {PHASE_NAMES[best]} (the better phase on validation), "
        f"seed {experiment['seed']}. " + verdict(metrics["comparison"], experiment["evaluate"]["confidence"]),
        "",
        "| | " + " | ".join(PHASE_NAMES[phase] for phase in PHASES) + " |",
        "| --- | --- | --- |",
    ]
    for words, name in headline(found):
        cells = " | ".join(_format_interval(metrics[phase], name) for phase in PHASES)
        lines.append(f"| {words} | {cells} |")
    return "\n".join(lines) + "\n"


def _format_interval(figures: dict[str, float], name: str) -> str:
    if f"{name}_low" not in figures:
        return f"{figures[name]:.4f} ({figures['ece_by_chance']:.4f} by chance)"
    return f"{figures[name]:.4f} ({figures[f'{name}_low']:.4f} to {figures[f'{name}_high']:.4f})"


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
    did = "helped" if difference > 0 else "made it worse"
    return f"Fine-tuning {did}: it changed accuracy by {difference:+.4f} ({between}; McNemar's exact test: p {p_value(p)})."


def calibration_note(calibration: dict[str, float], *, applied: bool) -> str:
    """What the temperature does, and whether it is in the model."""
    temperature = calibration["temperature"]
    leaning = "too sure of itself" if temperature > 1 else "less sure than it could be"
    return f"Validation images ask for a temperature of {temperature:.3f}: the model is {leaning}. " + (
        "evaluate.calibrate is on: all figures here, and the model that is logged, have it."
        if applied
        else "It is reported only; evaluate.calibrate=true puts it into the model."
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
