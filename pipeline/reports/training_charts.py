"""Charts of training: curves, augmented variants, the learning-rate range."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.visuals.style import BLUE, GREEN, INK, ORANGE, charting, write_png


def plot_variants(images: np.ndarray, file: Path) -> None:
    """Draw images beside their augmented variants, uint8 [images, variants, size, size, 3], the plain one first."""
    titles = ["original", *(f"variant {number}" for number in range(1, images.shape[1]))]
    with charting(1.35 * len(titles), 1.35 * len(images) + 0.3) as figure:
        grid = figure.subplots(len(images), len(titles), squeeze=False)
        for line, variants in zip(grid, images, strict=True):
            for axes, image in zip(line, variants, strict=True):
                axes.imshow(image)
                axes.axis("off")
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title, fontsize=8)
    write_png(figure, file)


def training_curves(histories: Sequence[pd.DataFrame], figures: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw accuracy and loss of both phases on one axis of epochs, with their boundaries and kept epochs.

    Args:
        histories: history.csv of each phase, with consecutive epochs.
        figures: metrics.json of each phase.
    """
    history, round_epochs = pd.concat(histories), figures[-1].get("phase_epochs", ())
    kept = pd.DataFrame(figures)
    with charting(9.5, 3.6) as figure:
        for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
            axes.plot(history["epoch"], history[name], color=BLUE, marker="o", markersize=3, label="training")
            axes.plot(
                history["epoch"], history[f"val_{name}"], color=ORANGE, marker="s", markersize=3, label="validation"
            )
            ring = {"markersize": 10, "markerfacecolor": "none", "markeredgecolor": INK}
            axes.plot(kept["kept_epoch"], kept[f"val_{name}"], "o", label="kept", **ring)
            for later in histories[1:]:
                boundary = later["epoch"].iloc[0] - 0.5
                axes.axvline(boundary, linestyle="--", linewidth=1, color=INK, alpha=0.6)
                axes.text(boundary, 1.0, " fine-tuning", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
                for epochs in np.cumsum(round_epochs)[:-1]:
                    axes.axvline(boundary + epochs, linestyle=":", linewidth=1, color=INK, alpha=0.6)
            axes.set(title=name.capitalize(), xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid()
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        return figure


def plot_rate_range(table: pd.DataFrame, suggested: float, configured: float, file: Path) -> None:
    """Draw loss by learning rate, on a logarithmic axis, with the suggested and the configured rate.

    Args:
        table: learning_rate, loss and smoothed; one row per batch.
        suggested: learning rate.
        configured: learning rate.
        file: PNG to write.
    """
    with charting(6.5, 3.8) as figure:
        axes = figure.subplots()
        axes.plot(table["learning_rate"], table["loss"], color=BLUE, alpha=0.35, linewidth=1, label="batches")
        axes.plot(table["learning_rate"], table["smoothed"], color=BLUE, label="moving average")
        axes.axvline(suggested, color=GREEN, label=f"suggested, {suggested:.2g}")
        axes.axvline(configured, color=INK, linestyle="--", label=f"configured, {configured:.2g}")
        # The last losses are out of proportion.
        top = table["smoothed"].iloc[0] + table["smoothed"].min()
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 1.5 * top))
        axes.grid()
        figure.legend(loc="outside lower center", ncols=4)
    write_png(figure, file)
