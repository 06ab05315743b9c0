"""Charts of one evaluation."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.evaluation.metrics import Estimate
from pipeline.storage.files import Json
from pipeline.visuals.pages import scale
from pipeline.visuals.style import BLUE, INK, PANEL, SERIES, Chart, charting

_MAX_CURVES = 6


def curve_charts(curves: pd.DataFrame, mean_auc: Estimate) -> list[Chart]:
    """Draw the one-vs-rest ROC and precision-recall curves of the classes with the lowest AUC, where curves differ.

    Args:
        curves: Table returned by `pipeline.evaluation.tables.curves_table`.
        mean_auc: Mean AUC over all classes, shown in the title.

    Returns:
        Two charts; none if no class is confused with others at any threshold.
    """
    imperfect = [(name, curve) for name, curve in curves.groupby("class", sort=False) if curve["auc"].iloc[0] < 1]
    shown = list(zip(imperfect[:_MAX_CURVES], SERIES, strict=False))
    if not shown:
        return []
    legend = tuple((f"{name}, AUC {curve['auc'].iloc[0]:.4f}", colour) for (name, curve), colour in shown)
    with charting(*PANEL) as roc:
        axes = roc.subplots()
        for (_, curve), colour in shown:
            axes.plot(curve["fpr"], curve["tpr"], linewidth=1.6, color=colour)
        # Below their first points the curves rise along the axis, and right of the last gap all are at 1.
        low = min(curve.loc[curve["fpr"] == 0, "tpr"].max() for (_, curve), _ in shown)
        right = max(curve.loc[curve["tpr"] < 1, "fpr"].max() for (_, curve), _ in shown)
        _limit(axes, x=(0, scale(0, right)[1]), y=(scale(low, 1)[0], 1))
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
    with charting(*PANEL) as precision_recall:
        axes = precision_recall.subplots()
        for (_, curve), colour in shown:
            axes.plot(curve["recall"], curve["precision"], linewidth=1.6, color=colour)
        # Left of their first gap all curves are at 1. At recall 1, precision falls to the class's fraction of images.
        left = min(curve.loc[curve["precision"] < 1, "recall"].min() for (_, curve), _ in shown)
        low = min(curve.loc[curve["recall"] == 1, "precision"].max() for (_, curve), _ in shown)
        _limit(axes, x=(scale(min(left, 0.99), 1)[0], 1), y=(scale(min(low, 0.99), 1)[0], 1))
        axes.set(xlabel="recall", ylabel="precision")
    title = f"ROC; mean AUC of all classes {mean_auc.value:.4f} ({mean_auc.low:.4f} to {mean_auc.high:.4f})"
    return [Chart(title, roc, legend), Chart("Precision by recall", precision_recall, legend)]


def _limit(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Limit the axes, with a margin in which lines at the ends can be seen."""
    for limit, (low, high) in ((axes.set_xlim, x), (axes.set_ylim, y)):
        margin = 0.02 * (high - low)
        limit(low - margin, high + margin)
    axes.grid()


def reliability_charts(table: pd.DataFrame, figures: Json) -> list[Chart]:
    """Draw accuracy against confidence, before and after temperature scaling, on the same axes.

    Args:
        table: Table returned by `pipeline.evaluation.tables.reliability_table`.
        figures: Results of `pipeline.evaluation.calibration.calibration_metrics` for before and after.
    """
    used = table[table["images"] > 0]
    ends = scale(float(used[["confidence", "accuracy"]].to_numpy().min()), 1)
    charts = []
    for when, name in (("before", "As trained"), ("after", "With the temperature")):
        rows = used[used["temperature"] == when]
        with charting(*PANEL) as figure:
            axes = figure.subplots()
            axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, linewidth=1)
            reach = np.abs(rows[["accuracy_low", "accuracy_high"]].to_numpy().T - rows["accuracy"].to_numpy())
            axes.errorbar(
                rows["confidence"], rows["accuracy"], yerr=reach, fmt="none", ecolor=BLUE, capsize=2, elinewidth=1
            )
            # Areas are proportional to the numbers of images.
            axes.scatter(rows["confidence"], rows["accuracy"], 400 * rows["images"] / rows["images"].sum(), color=BLUE)
            _limit(axes, ends, ends)
            axes.set(xlabel="confidence", ylabel="accuracy")
        error, chance = figures[f"ece_{when}"], figures[f"ece_by_chance_{when}"]
        charts.append(Chart(f"{name}: ECE {error:.3f} ({chance:.3f} by chance)", figure))
    return charts
