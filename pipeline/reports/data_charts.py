"""Charts of a prepared data set: samples, class shares and appearance by split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.visuals.style import BLUE, GREEN, ORANGE, charting, write_png

_SPLITS = {"train": BLUE, "validation": ORANGE, "test": GREEN}


_NAMED_CLASSES = 40


_BINS = 30


def plot_samples(images: Sequence[Image.Image], labels: Sequence[str], file: Path) -> None:
    """A grid of up to nine images, each under its label."""
    with charting(8, 8.4) as figure:
        for axes, image, label in zip(figure.subplots(3, 3).flat, images, labels, strict=False):
            axes.imshow(image.resize((224, 224)))
            axes.set_title(label)
        for axes in figure.axes:
            axes.axis("off")
    write_png(figure, file)


def plot_splits(counts: pd.DataFrame, appearance: pd.DataFrame, split: pd.Series, file: Path) -> None:
    """Class shares, and the distribution of each look, by split.

    Args:
        counts: images of each class (rows) in each split (columns).
        looks: a column a look (`pipeline.data.drift`), a row an image.
        split: of each image.
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
        for axes, name in zip(bottom.subplots(1, appearance.shape[1]), appearance.columns, strict=True):
            _histograms(axes, appearance[name], split)
            axes.set(title=name.replace("_", " "), yticks=[])
    write_png(figure, file)


def _histograms(axes, values: pd.Series, split: pd.Series) -> None:
    """One outline a split, of equal areas."""
    # A few huge images would squeeze all others into one bar.
    low, high = np.percentile(values, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, _BINS)
    for name, colour in _SPLITS.items():
        shown = values[(split == name).to_numpy()].clip(edges[0], edges[-1])
        weights = np.full(len(shown), 1 / max(1, len(shown)))
        axes.hist(shown, edges, weights=weights, histtype="step", color=colour, linewidth=1.5)
