"""The pictures that the stages leave."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from pipeline.charts import BLUE, GREEN, INK, ORANGE, charting, write_png

_SPLITS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
_NAMED_CLASSES = 40
_BINS = 30


def plot_samples(images: Sequence[Image.Image], labels: Sequence[str], file: Path) -> None:
    """A grid of up to nine pictures, each under its label."""
    with charting(8, 8.4) as figure:
        for axes, image, label in zip(figure.subplots(3, 3).flat, images, labels, strict=False):
            axes.imshow(image.resize((224, 224)))
            axes.set_title(label)
        for axes in figure.axes:
            axes.axis("off")
    write_png(figure, file)


def plot_splits(counts: pd.DataFrame, looks: pd.DataFrame, split: pd.Series, file: Path) -> None:
    """Class shares, and the distribution of each look, by split.

    Args:
        counts: pictures of each class (rows) in each split (columns).
        looks: a column a look (`pipeline.data.drift`), a row a picture.
        split: of each picture.
        file: PNG to write.
    """
    with charting(float(np.clip(0.35 * len(counts), 12, 20)), 9) as figure:
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1))
        axes = top.subplots()
        shares, places = counts / counts.sum(), np.arange(len(counts))
        for number, (name, colour) in enumerate(_SPLITS.items()):
            label = f"{name} ({counts[name].sum()})"
            axes.bar(places + 0.27 * (number - 1), shares[name], 0.27, label=label, color=colour)
        axes.set(title="Share of each class", ylabel="share of the split")
        if len(counts) <= _NAMED_CLASSES:
            axes.set_xticks(places, counts.index, rotation=90 if len(counts) > 12 else 0)
        else:
            axes.set_xlabel(f"{len(counts)} classes, by name")
        # Above the bars, which fill the axes.
        top.legend(loc="outside upper right", ncols=3)
        axes.grid(axis="y")
        for axes, name in zip(bottom.subplots(1, looks.shape[1]), looks.columns, strict=True):
            _histograms(axes, looks[name], split)
            axes.set(title=name.replace("_", " "), yticks=[])
    write_png(figure, file)


def _histograms(axes, values: pd.Series, split: pd.Series) -> None:
    """One outline a split, of equal areas."""
    # A few huge pictures would squeeze all others into one bar.
    low, high = np.percentile(values, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, _BINS)
    for name, colour in _SPLITS.items():
        shown = values[(split == name).to_numpy()].clip(edges[0], edges[-1])
        weights = np.full(len(shown), 1 / max(1, len(shown)))
        axes.hist(shown, edges, weights=weights, histtype="step", color=colour, linewidth=1.5)


def plot_views(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], file: Path) -> None:
    """Pictures uint8 [size, size, 3] beside their versions: a row a picture, a column a version, under its title."""
    with charting(1.35 * len(titles), 1.35 * len(rows) + 0.3) as figure:
        grid = figure.subplots(len(rows), len(titles), squeeze=False)
        for line, pictures in zip(grid, rows, strict=True):
            for axes, picture in zip(line, pictures, strict=True):
                axes.imshow(picture)
                axes.axis("off")
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title, fontsize=8)
    write_png(figure, file)


def training_curves(
    histories: Sequence[pd.DataFrame], figures: Sequence[Mapping[str, float]], phase_epochs: Sequence[int] = ()
) -> Figure:
    """Accuracy and loss of one phase, or of both on one axis of epochs, with the boundaries and what each phase kept.

    Args:
        histories: of each phase, rows as `pipeline.training.epochs.Row`; the second one's epochs go on.
        figures: of what was kept, of each phase: `kept_epoch`, and `val_accuracy` and `val_loss` of its weights.
        phase_epochs: of each phase within fine-tuning.
    """
    history = pd.concat(histories)
    with charting(9.5, 3.6) as figure:
        for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
            axes.plot(history["epoch"], history[name], color=BLUE, marker="o", markersize=3, label="training")
            axes.plot(
                history["epoch"], history[f"val_{name}"], color=ORANGE, marker="s", markersize=3, label="validation"
            )
            kept = pd.DataFrame(figures)
            axes.plot(
                kept["kept_epoch"],
                kept[f"val_{name}"],
                "o",
                markersize=10,
                markerfacecolor="none",
                markeredgecolor=INK,
                label="kept",
            )
            for later in histories[1:]:
                boundary = later["epoch"].iloc[0] - 0.5
                axes.axvline(boundary, linestyle="--", linewidth=1, color=INK, alpha=0.6)
                axes.text(boundary, 1.0, " fine-tuning", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
                for epochs in np.cumsum(phase_epochs)[:-1]:
                    axes.axvline(boundary + epochs, linestyle=":", linewidth=1, color=INK, alpha=0.6)
            axes.set(title=name.capitalize(), xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid()
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        return figure


def plot_rate_range(table: pd.DataFrame, suggested: float, configured: float, file: Path) -> None:
    """Loss by learning rate, on a logarithmic axis, with the suggested and the configured rate; `table` as `pipeline.training.range_test` has it."""
    with charting(6.5, 3.8) as figure:
        axes = figure.subplots()
        axes.plot(table["learning_rate"], table["loss"], color=BLUE, alpha=0.35, linewidth=1, label="a batch")
        axes.plot(table["learning_rate"], table["smoothed"], color=BLUE, label="moving average")
        axes.axvline(suggested, color=GREEN, label=f"suggested, {suggested:.2g}")
        axes.axvline(configured, color=INK, linestyle="--", label=f"configured, {configured:.2g}")
        # What it ends in is out of proportion.
        top = table["smoothed"].iloc[0] + table["smoothed"].min()
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 1.5 * top))
        axes.grid()
        figure.legend(loc="outside lower center", ncols=4)
    write_png(figure, file)
