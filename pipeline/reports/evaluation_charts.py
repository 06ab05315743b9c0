"""Charts of one evaluation, as Matplotlib figures."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pipeline.evaluation.metrics import Estimate
from pipeline.reports.evaluation import Evaluation
from pipeline.visuals.style import BLUE, GREEN, INK, ORANGE, charting, shorten

# Transparent at 0, so that the chart suits pages of any colour.
_FRACTIONS = LinearSegmentedColormap.from_list("fractions", [(0.25, 0.5, 0.85, 0.0), (0.16, 0.38, 0.72, 1.0)])
_MAX_BARS = 60


def evaluation_charts(evaluation: Evaluation) -> dict[str, Figure]:
    """Draw all charts of an evaluation.

    Returns:
        Figures by the name of the chart.
    """
    figures, classes = evaluation.best_metrics, evaluation.classes
    reliability = dict(list(evaluation.reliability.groupby("temperature")))
    charts = {
        "confusion": confusion_chart(evaluation.confusion, classes, "Test images"),
        "per_class": per_class_chart(evaluation.per_class, "Precision and recall (images)"),
        "reliability": reliability_chart(reliability["before"], reliability["after"], figures["calibration"]),
    }
    if len(evaluation.curves):
        mean = Estimate(figures["auc"], figures["auc_low"], figures["auc_high"])
        charts["roc"], charts["precision_recall"] = curve_charts(evaluation.curves, mean)
    if len(evaluation.corruptions):
        clean = evaluation.metrics["corrupted"]
        undamaged = Estimate(clean["clean"], clean["clean_low"], clean["clean_high"])
        charts["corruptions"] = corruption_chart(evaluation.corruptions, undamaged)
    titles = {"mistakes": "Most confident mistakes", "hits": "Least confident correct predictions"}
    return charts | {kind: gallery_chart(evaluation.of_kind(kind), title) for kind, title in titles.items()}


def confusion_chart(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix, int [classes, classes], with counts, coloured by the fraction of each true class."""
    count = len(classes)
    side = float(np.clip(1.6 + 0.62 * count, 4.2, 15))
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with charting(side + 1.2, side) as figure:
        axes = figure.subplots()
        shown = axes.imshow(fractions, cmap=_FRACTIONS, vmin=0, vmax=1)
        figure.colorbar(shown, ax=axes, label="fraction of the true class", shrink=0.7)
        axes.set(title=title, xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(True)
        if count > 150:
            return figure
        size = 9 if count <= 20 else 7 if count <= 45 else 5
        names = [shorten(name, 24) for name in classes]
        upright = count > 4 or max(map(len, names)) > 11
        axes.set_xticks(range(count), names, rotation=90 if upright else 0, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        written = size if count <= 12 else 6.5 if count <= 30 else 4
        for row, column in np.argwhere(counts):
            text = f"{counts[row, column]}" + (f"\n{fractions[row, column]:.0%}" if count <= 12 else "")
            colour = "white" if fractions[row, column] > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=written)
        return figure


def per_class_chart(table: pd.DataFrame, title: str) -> Figure:
    """Draw precision and recall of each class with intervals, for at most 60 classes, those with the lowest recall.

    Args:
        table: Table returned by `pipeline.evaluation.tables.per_class`.
        title: Title of the chart.
    """
    shown = table if len(table) <= _MAX_BARS else table.nsmallest(_MAX_BARS, "recall", keep="first")
    dense = len(shown) > 20
    with charting(7.5, float(1.3 + (0.24 if dense else 0.42) * len(shown))) as figure:
        axes = figure.subplots()
        places = np.arange(len(shown))
        for offset, name, colour in ((-0.19, "precision", BLUE), (0.19, "recall", ORANGE)):
            values = shown[name].to_numpy()
            reach = np.abs(shown[[f"{name}_low", f"{name}_high"]].to_numpy().T - values)
            axes.barh(places + offset, values, 0.36, color=colour, label=name)
            axes.errorbar(
                values, places + offset, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.9, capsize=1.5, alpha=0.75
            )
        names = [f"{shorten(name, 28)} ({n})" for name, n in zip(shown["class"], shown["support"], strict=True)]
        axes.set_yticks(places, names, fontsize=7.5 if dense else 9.5)
        left_out = len(table) - len(shown)
        axes.set(title=title + f": the {_MAX_BARS} with the lowest recall" * bool(left_out), xlim=(0, 1.001))
        axes.margins(y=0.01)
        axes.invert_yaxis()
        axes.grid(axis="x")
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def curve_charts(curves: pd.DataFrame, mean_auc: Estimate) -> tuple[Figure, Figure]:
    """Draw one-vs-rest ROC curves and precision-recall curves.

    Args:
        curves: Table returned by `pipeline.evaluation.tables.curves_table`.
        mean_auc: Mean AUC over all classes, shown in the title.
    """
    with charting(4.6, 4.2) as roc:
        axes = _curves(roc, curves, "fpr", "tpr")
        axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.4, linewidth=1)
        title = f"ROC, mean AUC {mean_auc.value:.3f} ({mean_auc.low:.3f} to {mean_auc.high:.3f})"
        axes.set(title=title, xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(title="class, AUC", fontsize=7.5, title_fontsize=7.5, loc="lower right")
    with charting(4.6, 4.2) as precision_recall:
        axes = _curves(precision_recall, curves, "recall", "precision")
        axes.set(title="Precision against recall", xlabel="recall", ylabel="precision")
    return roc, precision_recall


def _curves(figure: Figure, curves: pd.DataFrame, x: str, y: str) -> Axes:
    axes = figure.subplots()
    for name, curve in curves.groupby("class", sort=False):
        label = f"{shorten(str(name), 18)} {curve['auc'].iloc[0]:.3f}"
        axes.plot(curve[x], curve[y], linewidth=1.6, label=label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.grid()
    return axes


def reliability_chart(before: pd.DataFrame, after: pd.DataFrame, figures: dict[str, float]) -> Figure:
    """Draw accuracy against confidence, before and after temperature scaling.

    Args:
        before: Table returned by `pipeline.evaluation.calibration.reliability`, before temperature scaling.
        after: Table of the same form, after temperature scaling.
        figures: Results of `pipeline.evaluation.calibration.calibration_metrics` for before and after.
    """
    with charting(8.6, 4.0) as figure:
        left, right = figure.subplots(1, 2)
        for axes, table, title, when in ((left, before, "As trained", "before"), (right, after, "Scaled", "after")):
            _reliability(axes, table[table["images"] > 0])
            error, chance = figures[f"ece_{when}"], figures[f"ece_by_chance_{when}"]
            axes.set_title(f"{title}: ECE {error:.3f} ({chance:.3f} by chance)")
            axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="confidence")
        figure.axes[0].set_ylabel("accuracy, fraction of images")
        figure.axes[0].legend(loc="upper left", fontsize=8)
        return figure


def _reliability(axes: Axes, table: pd.DataFrame) -> None:
    axes.bar(
        (table["from"] + table["to"]) / 2, table["images"] / table["images"].sum(), table["to"] - table["from"],
        color=INK, alpha=0.13, label="fraction of images",
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, linewidth=1)
    reach = np.abs(table[["accuracy_low", "accuracy_high"]].to_numpy().T - table["accuracy"].to_numpy())
    axes.errorbar(
        table["confidence"], table["accuracy"], yerr=reach, fmt="o", color=BLUE, markersize=4, capsize=2, linewidth=1,
        label="accuracy",
    )  # fmt: skip
    axes.grid()


def corruption_chart(table: pd.DataFrame, clean: Estimate) -> Figure:
    """Draw accuracy by severity for each corruption, with intervals as bands.

    Args:
        table: Table returned by `pipeline.evaluation.corruptions.accuracy_under_corruptions`.
        clean: Accuracy on the same images without corruption.
    """
    names = list(dict.fromkeys(table["corruption"]))
    columns = 4
    rows = -(-len(names) // columns)
    with charting(9.5, 2.1 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            one = table[table["corruption"] == name]
            severity = np.concatenate([[0], one["severity"]])
            starts = {"accuracy_low": clean.low, "accuracy": clean.value, "accuracy_high": clean.high}
            low, value, high = (np.concatenate([[start], one[column]]) for column, start in starts.items())
            axes.fill_between(severity, low, high, color=GREEN, alpha=0.22, linewidth=0)
            axes.plot(severity, value, "o-", color=GREEN, markersize=3)
            axes.set_title(name.replace("_", " "), fontsize=9.5)
            axes.set(ylim=(0, 1.02), xticks=range(6))
            axes.grid()
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("severity (0: not corrupted)", fontsize=9.5)
        figure.supylabel("accuracy", fontsize=9.5)
        return figure


def gallery_chart(gallery: pd.DataFrame, title: str) -> Figure:
    """Draw images next to their heat maps, with label, prediction and confidence.

    Args:
        gallery: Table returned by `Evaluation.of_kind`.
        title: Title of the chart.
    """
    columns = 4
    rows = max(1, -(-len(gallery) // columns))
    with charting(3.1 * columns, 0.5 + 1.95 * rows) as figure:
        figure.suptitle(title + ": none" * gallery.empty, fontweight="bold")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, each in zip(grid.flat, gallery.to_dict("records"), strict=False):
            axes.imshow(np.concatenate([each["image"], each["overlay"]], axis=1))
            pair = f"{shorten(each['label'], 20)}, predicted {shorten(each['prediction'], 20)}"
            classes = pair if each["label"] != each["prediction"] else each["label"]
            title = f"{classes} ({each['confidence']:.1%})\n{shorten(each['path'], 48)}"
            axes.set_title(title, fontsize=6.5, fontweight="normal")
        return figure
