"""The tables, charts and pages that show an evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.config import Config
from pipeline.evaluation.calibration import reliability
from pipeline.evaluation.gallery import GalleryImage, least_confident_hits, most_confident_mistakes
from pipeline.evaluation.gradcam import heatmaps, overlay
from pipeline.evaluation.intervals import Estimate, wilson
from pipeline.evaluation.metrics import confusion, curves, per_class
from pipeline.evaluation.per_image import class_aucs
from pipeline.evaluation.phase_result import PHASES, Outcome, TestSet
from pipeline.reports import evaluation_charts as plots
from pipeline.reports.evaluation_page import confusion_rows, top_confusions, write_report
from pipeline.reports.training_charts import training_curves
from pipeline.storage.files import read_json
from pipeline.visuals.style import as_svg, write_png

_MOST_CURVES = 8


def illustrate(
    outcomes: dict[str, Outcome],
    metrics: dict[str, Any],
    robustness: pd.DataFrame,
    test: TestSet,
    config: Config,
    inputs: Path,
    out: Path,
) -> None:
    """Write the tables, plots/ and report.html.

    Args:
        outcomes: of each phase.
        metrics: as metrics.json has them.
        robustness: as `pipeline.evaluation.robustness` makes it; empty where nothing was damaged.
        test: what was evaluated.
        config: of the experiment.
        inputs: the folder of the earlier stages, for their histories.
        out: to write into.
    """
    best = metrics["best"]
    best_counts = _tables(outcomes, test, config, out)[best]
    figures = {
        "training": _training(inputs),
        "confusion": plots.confusion_chart(best_counts, test.classes, "Test images"),
        "per_class": plots.per_class_chart(_class_table(outcomes[best], test, config), "Precision and recall (images)"),
        "reliability": _reliability(outcomes[best], metrics[best], test, config, out),
        **_curve_figures(outcomes[best].probabilities, test, metrics[best]),
    }
    if len(robustness):
        corrupted = metrics["corrupted"]
        low, high = wilson(corrupted["clean"] * corrupted["images"], corrupted["images"], config.evaluate.confidence)
        clean = Estimate(corrupted["clean"], float(low), float(high))
        figures["corruptions"] = plots.corruption_chart(robustness, clean)
    shown = _gallery(outcomes[best], test, config.evaluate.gallery)
    titles = {"mistakes": "The most confident mistakes", "hits": "The least confident hits"}
    galleries = {name: plots.gallery_chart(shown[name], title) for name, title in titles.items()}
    for name, figure in (figures | galleries).items():
        write_png(figure, out / "plots" / f"{name}.png")
    count = len(test.classes)
    extra = {
        # What a depth by rule came out as.
        "unfreeze": read_json(inputs / "finetune" / "metrics.json")["unfreeze"],
        "confusions": top_confusions(best_counts, test.classes),
        "curves_note": f"; the {_MOST_CURVES} classes of {count} with the lowest AUC" * (count > _MOST_CURVES),
    }
    write_report(
        out / "report.html", config, metrics, {name: as_svg(figure) for name, figure in figures.items()}, shown, extra
    )


def _tables(outcomes: dict[str, Outcome], test: TestSet, config: Config, out: Path) -> dict[str, np.ndarray]:
    """Write per_class.csv and confusion.csv, both of both phases; returns each phase's confusion matrix."""
    counts = {phase: confusion(test.labels, outcomes[phase].predicted, test.classes) for phase in PHASES}
    tables = [_class_table(outcomes[phase], test, config).assign(phase=phase) for phase in PHASES]
    pd.concat(tables).set_index("phase").to_csv(out / "per_class.csv")
    rows = [confusion_rows(counts[phase], test.classes, phase) for phase in PHASES]
    pd.concat(rows).to_csv(out / "confusion.csv", index=False)
    return counts


def _class_table(outcome: Outcome, test: TestSet, config: Config) -> pd.DataFrame:
    return per_class(test.labels, outcome.predicted, test.classes, config.evaluate.confidence)


def _training(inputs: Path) -> Figure:
    histories = [pd.read_csv(inputs / phase / "history.csv") for phase in PHASES]
    figures = [read_json(inputs / phase / "metrics.json") for phase in PHASES]
    return training_curves(histories, figures, figures[-1]["phase_epochs"])


def _reliability(outcome: Outcome, figures: dict[str, Any], test: TestSet, config: Config, out: Path) -> Figure:
    """The diagram before and after temperature scaling; its numbers as reliability.csv."""
    tables = {
        name: reliability(test.labels, given, config.evaluate.calibration_bins, config.evaluate.confidence)
        for name, given in (("before", outcome.as_trained), ("after", outcome.calibrated))
    }
    numbers = [table.assign(temperature=name) for name, table in tables.items()]
    pd.concat(numbers).set_index("temperature").to_csv(out / "reliability.csv")
    return plots.reliability_chart(tables["before"], tables["after"], figures["calibration"])


def _curve_figures(probabilities: np.ndarray, test: TestSet, figures: dict[str, float]) -> dict[str, Figure]:
    """ROC and precision-recall curves: of all classes, or of those that are told worst from the rest."""
    if "auc" not in figures:
        return {}
    areas = {place: area for place, area in enumerate(class_aucs(test.labels, probabilities)) if not np.isnan(area)}
    places = sorted(areas, key=areas.get)[:_MOST_CURVES]
    if len(test.classes) == 2:
        # The first class's curve is the second's, turned round.
        places = [1]
    mean = Estimate(figures["auc"], figures["auc_low"], figures["auc_high"])
    named = {test.classes[place]: curves(test.labels, probabilities, place) for place in places}
    roc, precision_recall = plots.curve_charts(named, {test.classes[place]: areas[place] for place in places}, mean)
    return {"roc": roc, "precision_recall": precision_recall}


def _gallery(outcome: Outcome, test: TestSet, count: int) -> dict[str, list[GalleryImage]]:
    """The images to look at, with heat maps of what was predicted."""
    chosen = {
        "mistakes": most_confident_mistakes(test.labels, outcome.probabilities, count),
        "hits": least_confident_hits(test.labels, outcome.probabilities, count),
    }
    return {name: _shown(outcome, test, places) for name, places in chosen.items()}


def _shown(outcome: Outcome, test: TestSet, places: np.ndarray) -> list[GalleryImage]:
    if not len(places):
        return []
    images, predicted = test.images.take(places), outcome.predicted[places]
    with outcome.parts.in_their_arithmetic():
        maps = heatmaps(outcome.model, images, predicted, outcome.parts.feature_maps)
    rows = test.rows.iloc[places]
    return [
        GalleryImage(
            path=rows["path"].iloc[index],
            label=rows["label"].iloc[index],
            prediction=test.classes[predicted[index]],
            confidence=float(outcome.probabilities[place, predicted[index]]),
            label_probability=float(outcome.probabilities[place, test.labels[place]]),
            image=images[index],
            overlay=overlay(images[index], heatmap),
        )
        for index, (place, heatmap) in enumerate(zip(places, maps, strict=True))
    ]
