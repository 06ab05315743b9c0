"""The charts of one evaluation: figures to be written as PNG or put into a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pipeline.visuals.style import BLUE, GREEN, INK, ORANGE, charting

# Clear where there is nothing, so that it stands on a page of any colour.
_SHARES = LinearSegmentedColormap.from_list("shares", [(0.25, 0.5, 0.85, 0.0), (0.16, 0.38, 0.72, 1.0)])
_MOST_BARS = 60


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GalleryImage:
    """A test image as the gallery shows it."""

    kind: str
    """mistakes or hits."""
    path: str
    label: str
    prediction: str
    confidence: float
    """Probability of the predicted class."""
    label_probability: float
    image: np.ndarray
    """uint8 [size, size, 3], as the network sees it."""
    overlay: np.ndarray
    """The same with Grad-CAM's heat map of the predicted class."""


def confusion_chart(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """A confusion matrix, int [classes, classes]: colour by the share of each true class; counts, and in small ones shares, written in."""
    count = len(classes)
    side = float(np.clip(1.6 + 0.62 * count, 4.2, 15))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with charting(side + 1.2, side) as figure:
        axes = figure.subplots()
        shown = axes.imshow(shares, cmap=_SHARES, vmin=0, vmax=1)
        figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.7)
        axes.set(title=title, xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(True)
        if count > 150:
            return figure
        size = 9 if count <= 20 else 7 if count <= 45 else 5
        names = [_short(name, 24) for name in classes]
        upright = count > 4 or max(map(len, names)) > 11
        axes.set_xticks(range(count), names, rotation=90 if upright else 0, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        written = size if count <= 12 else 6.5 if count <= 30 else 4
        for row, column in np.argwhere(counts):
            text = f"{counts[row, column]}" + (f"\n{shares[row, column]:.0%}" if count <= 12 else "")
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=written)
        return figure


def per_class_chart(table: pd.DataFrame, title: str) -> Figure:
    """Precision and recall of each class with their intervals, of those with the lowest recall where there are many.

    Args:
        table: as `pipeline.evaluation.metrics.per_class` makes it.
        title: of the chart.
    """
    shown = table if len(table) <= _MOST_BARS else table.nsmallest(_MOST_BARS, "recall", keep="first")
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
        names = [f"{_short(name, 28)} ({n})" for name, n in zip(shown["class"], shown["support"], strict=True)]
        axes.set_yticks(places, names, fontsize=7.5 if dense else 9.5)
        left_out = len(table) - len(shown)
        axes.set(title=title + f": the {_MOST_BARS} with the lowest recall" * bool(left_out), xlim=(0, 1.001))
        axes.margins(y=0.01)
        axes.invert_yaxis()
        axes.grid(axis="x")
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def curve_charts(curves: pd.DataFrame, mean_auc: Interval) -> tuple[Figure, Figure]:
    """ROC curves and precision-recall curves, one class against the rest.

    Args:
        curves: class, auc, fpr, tpr, recall and precision of the classes to be shown.
        mean_auc: the mean over all classes, for the title.
    """
    figures = []
    for kind in ("roc", "pr"):
        with charting(4.6, 4.2) as figure:
            axes = figure.subplots()
            for (name, area), curve in curves.groupby(["class", "auc"], sort=False):
                x, y = (curve["fpr"], curve["tpr"]) if kind == "roc" else (curve["recall"], curve["precision"])
                axes.plot(x, y, linewidth=1.6, label=f"{_short(name, 18)} {area:.3f}")
            if kind == "roc":
                axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.4, linewidth=1)
                title = f"ROC, mean AUC {_format_interval(mean_auc)}"
                axes.set(title=title, xlabel="false positive rate", ylabel="true positive rate")
                axes.legend(title="class, AUC", fontsize=7.5, title_fontsize=7.5, loc="lower right")
            else:
                axes.set(title="Precision against recall", xlabel="recall", ylabel="precision")
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
            axes.grid()
            figures.append(figure)
    return tuple(figures)


def reliability_chart(before: pd.DataFrame, after: pd.DataFrame, figures: dict[str, float]) -> Figure:
    """Accuracy against confidence, before and after temperature scaling.

    Args:
        before: as `pipeline.evaluation.calibration.reliability` makes it; so is `after`.
        after: see `before`.
        figures: ece and ece_by_chance of both, as `pipeline.evaluation.calibration.calibration_figures` names them.
    """
    with charting(8.6, 4.0) as figure:
        left, right = figure.subplots(1, 2)
        for axes, table, title, when in (
            (left, before, "As trained", "before"),
            (right, after, "At the temperature", "after"),
        ):
            _reliability(axes, table[table["images"] > 0])
            error, chance = figures[f"ece_{when}"], figures[f"ece_by_chance_{when}"]
            axes.set(
                title=f"{title}: ECE {error:.3f} ({chance:.3f} by chance)",
                xlim=(0, 1),
                ylim=(0, 1.01),
                xlabel="confidence",
            )
        figure.axes[0].set_ylabel("accuracy, share of images")
        figure.axes[0].legend(loc="upper left", fontsize=8)
        return figure


def _reliability(axes: Axes, table: pd.DataFrame) -> None:
    axes.bar(
        (table["from"] + table["to"]) / 2, table["images"] / table["images"].sum(), table["to"] - table["from"],
        color=INK, alpha=0.13, label="share of images",
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, linewidth=1)
    reach = np.abs(table[["accuracy_low", "accuracy_high"]].to_numpy().T - table["accuracy"].to_numpy())
    axes.errorbar(
        table["confidence"], table["accuracy"], yerr=reach, fmt="o", color=BLUE, markersize=4, capsize=2, linewidth=1,
        label="accuracy",
    )  # fmt: skip
    axes.grid()


def corruption_chart(table: pd.DataFrame, clean: Interval) -> Figure:
    """Accuracy by severity under each corruption, with intervals as bands.

    Args:
        table: corruption, severity, accuracy, accuracy_low, accuracy_high.
        clean: the accuracy on the same images undamaged.
    """
    names = list(dict.fromkeys(table["corruption"]))
    columns = 4
    rows = -(-len(names) // columns)
    with charting(9.5, 2.1 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            one = table[table["corruption"] == name]
            severity = np.concatenate([[0], one["severity"]])
            low, value, high = (
                np.concatenate([[start], one[column]])
                for start, column in zip(
                    (clean.low, clean.value, clean.high), ("accuracy_low", "accuracy", "accuracy_high"), strict=True
                )
            )
            axes.fill_between(severity, low, high, color=GREEN, alpha=0.22, linewidth=0)
            axes.plot(severity, value, "o-", color=GREEN, markersize=3)
            axes.set_title(name.replace("_", " "), fontsize=9.5)
            axes.set(ylim=(0, 1.02), xticks=range(6))
            axes.grid()
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("severity (0: undamaged)", fontsize=9.5)
        figure.supylabel("accuracy", fontsize=9.5)
        return figure


def gallery_chart(shown: Sequence[GalleryImage], title: str) -> Figure:
    """Images beside their heat maps, with label, prediction and confidence.

    Args:
        shown: images of one kind.
        title: of the chart.
    """
    columns = 4
    rows = max(1, -(-len(shown) // columns))
    with charting(3.1 * columns, 0.5 + 1.95 * rows) as figure:
        figure.suptitle(title + ": none" * (not shown), fontweight="bold")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, each in zip(grid.flat, shown, strict=False):
            axes.imshow(np.concatenate([each.image, each.overlay], axis=1))
            said = f"{_short(each.label, 20)} taken for {_short(each.prediction, 20)}"
            axes.set_title(
                f"{said if each.label != each.prediction else each.label} ({each.confidence:.1%})\n{_short(each.path, 48)}",
                fontsize=6.5,
                fontweight="normal",
            )
        return figure


def _format_interval(estimate: Interval) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"
