"""Charts of training: learning curves and the learning-rate range test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from pipeline.storage.files import Json
from pipeline.visuals.style import BLUE, GREEN, INK, ORANGE, PANEL, Chart, charting, write_png

_LEGEND = (("training", BLUE), ("validation", ORANGE))


def training_curves(histories: Sequence[pd.DataFrame], figures: Sequence[Json], *, other_loss: bool) -> list[Chart]:
    """Draw accuracy and loss of both phases by epoch, and mark phase boundaries and kept epochs.

    The kept epoch is the epoch whose weights the phase's model has.

    Args:
        histories: Content of history.csv of each phase, with consecutive epoch numbers.
        figures: Content of metrics.json of each phase.
        other_loss: Whether training minimises another loss than validation, as with smoothed labels.
    """
    history, kept = pd.concat(histories), pd.DataFrame(figures)
    boundaries = [later["epoch"].iloc[0] - 0.5 for later in histories[1:]]
    rounds = [boundaries[-1] + epochs for epochs in np.cumsum(figures[-1].get("phase_epochs", ()))[:-1]]
    fitted = "Phase 1 was fitted at once, by {head} regression with penalty {penalty:g}, and counts as one epoch. "
    notes = {
        "accuracy": (fitted.format(**figures[0]) if "penalty" in figures[0] else "")
        + "A ring marks the weights that a phase kept; those of fine-tuning may lie between its start and its "
        "end. The dashed line is its start.",
        "loss": "In training, labels are smoothed or mixed, so that its loss is not comparable with validation's."
        if other_loss
        else "",
    }
    charts = []
    for name, note in notes.items():
        with charting(*PANEL) as figure:
            axes = figure.subplots()
            axes.plot(history["epoch"], history[name], color=BLUE, marker="o", markersize=3)
            axes.plot(history["epoch"], history[f"val_{name}"], color=ORANGE, marker="s", markersize=3)
            ring: Json = {"markersize": 10, "markerfacecolor": "none", "markeredgecolor": INK}
            axes.plot(kept["kept_epoch"], kept[f"val_{name}"], "o", **ring)
            for boundary in boundaries:
                axes.axvline(boundary, linestyle="--", linewidth=1, color=INK, alpha=0.6)
            for boundary in rounds:
                axes.axvline(boundary, linestyle=":", linewidth=1, color=INK, alpha=0.6)
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid()
        charts.append(Chart(name.capitalize(), figure, _LEGEND, note))
    return charts


def plot_rate_range(table: pd.DataFrame, suggested: float | None, configured: float, file: Path) -> None:
    """Draw loss by learning rate on a logarithmic axis, and mark the suggested and the configured learning rates.

    Args:
        table: Table with the columns learning_rate, loss and smoothed, one row per batch.
        suggested: Suggested learning rate, or None.
        configured: Configured learning rate.
        file: Output PNG file.
    """
    with charting(6.5, 3.8) as figure:
        axes = figure.subplots()
        axes.plot(table["learning_rate"], table["loss"], color=BLUE, alpha=0.35, linewidth=1, label="batches")
        axes.plot(table["learning_rate"], table["smoothed"], color=BLUE, label="moving average")
        if suggested is not None:
            axes.axvline(suggested, color=GREEN, label=f"suggested, {suggested:.2g}")
        axes.axvline(configured, color=INK, linestyle="--", label=f"configured, {configured:.2g}")
        # The axis is limited, because the last losses are very large.
        top = table["smoothed"].iloc[0] + table["smoothed"].min()
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 1.5 * top))
        # Matplotlib's own labels of powers of ten are formulas, which are switched off.
        axes.xaxis.set_major_formatter(lambda rate, _place: f"{rate:g}")
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2)
    write_png(figure, file)
