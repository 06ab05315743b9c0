"""What the splits look like, drawn: prepare's splits.png."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.data.drift import LOOKS

_COLOURS = {"train": "tab:blue", "validation": "tab:orange", "test": "tab:green"}
_NAMED_CLASSES = 40
_BINS = 30


def plot_splits(counts: pd.DataFrame, looks: pd.DataFrame, split: pd.Series, file: Path) -> None:
    """Class shares, and the distribution of each look, by split.

    Args:
        counts: pictures of each class (rows) in each split (columns).
        looks: LOOKS of each picture.
        split: of each picture.
        file: PNG to write.
    """
    names = len(counts) <= _NAMED_CLASSES
    width = float(np.clip(0.35 * len(counts), 12, 20))
    figure = Figure(figsize=(width, 9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1))
    axes = top.subplots()
    shares, places = counts / counts.sum(), np.arange(len(counts))
    for number, (name, colour) in enumerate(_COLOURS.items()):
        label = f"{name} ({counts[name].sum()})"
        axes.bar(places + 0.27 * (number - 1), shares[name], 0.27, label=label, color=colour)
    axes.set(title="Share of each class", ylabel="share of the split")
    if names:
        turned = 90 if len(counts) > 12 else 0
        axes.set_xticks(places, counts.index, rotation=turned)
    else:
        axes.set_xlabel(f"{len(counts)} classes, by name")
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
    for axes, name in zip(bottom.subplots(1, len(LOOKS)), LOOKS, strict=True):
        # A few huge pictures would squeeze all others into one bar.
        low, high = np.percentile(looks[name], [0.5, 99.5])
        edges = np.linspace(low, high if high > low else low + 1, _BINS)
        for of_split, colour in _COLOURS.items():
            values = looks.loc[(split == of_split).to_numpy(), name].clip(edges[0], edges[-1])
            weights = np.full(len(values), 1 / max(1, len(values)))
            axes.hist(values, edges, weights=weights, histtype="step", color=colour, linewidth=1.5)
        axes.set(title=name.replace("_", " "), yticks=[])
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})
