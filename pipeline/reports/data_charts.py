"""Charts of a prepared data set: samples, classes and appearance by split."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.inputs.decoding import decode
from pipeline.inputs.manifest import Manifest, appearance
from pipeline.visuals.style import BLUE, GREEN, ORANGE, charting, write_png

_SPLITS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
_MAX_NAMED_CLASSES = 40
_BINS = 30


def plot_samples(manifest: Manifest, folder: Path, seed: int, file: Path) -> None:
    """Draw up to nine training images under their labels.

    Args:
        manifest: of the prepared data set.
        folder: where its paths start.
        seed: of the choice.
        file: PNG to write.
    """
    training = manifest.split("train")
    chosen = training.iloc[np.random.default_rng(seed).permutation(len(training))[:9]]
    images = [decode((folder / path).read_bytes()).image for path in chosen["path"]]
    with charting(8, 8.4) as figure:
        for axes, image, label in zip(figure.subplots(3, 3).flat, images, chosen["label"], strict=False):
            axes.imshow(image.resize((224, 224)))
            axes.set_title(label)
        for axes in figure.axes:
            axes.axis("off")
    write_png(figure, file)


def plot_splits(figures: dict[str, Any], manifest: Manifest, file: Path) -> None:
    """Draw the fraction of each class, and the distribution of each measure of appearance, by split.

    Args:
        figures: prepare's metrics.json.
        manifest: of the prepared data set.
        file: PNG to write.
    """
    counts = pd.DataFrame(figures["class_counts"]).reindex(manifest.classes)
    measures, split = appearance(manifest.rows), manifest.rows["split"]
    with charting(float(np.clip(0.35 * len(counts), 12, 20)), 9) as figure:
        top, bottom = np.asarray(figure.subfigures(2, 1))
        axes = top.subplots()
        fractions, places = counts / counts.sum(), np.arange(len(counts))
        for number, (name, colour) in enumerate(_SPLITS.items()):
            label = f"{name} ({counts[name].sum()})"
            axes.bar(places + 0.27 * (number - 1), fractions[name], 0.27, label=label, color=colour)
        axes.set(title="Classes", ylabel="fraction of the split")
        if len(counts) <= _MAX_NAMED_CLASSES:
            axes.set_xticks(places, counts.index, rotation=90 if len(counts) > 12 else 0)
        else:
            axes.set_xlabel(f"{len(counts)} classes, by name")
        # Above the bars, which fill the axes.
        top.legend(loc="outside upper right", ncols=3)
        axes.grid(axis="y")
        for axes, name in zip(bottom.subplots(1, measures.shape[1]), measures.columns, strict=True):
            _histograms(axes, measures[name], split)
            axes.set(title=name.replace("_", " "), yticks=[])
    write_png(figure, file)


def _histograms(axes: Axes, values: pd.Series, split: pd.Series) -> None:
    """Draw one outline per split, of equal areas."""
    # A few huge images would squeeze all others into one bar.
    low, high = np.percentile(values, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, _BINS)
    for name, colour in _SPLITS.items():
        clipped = values[(split == name).to_numpy()].clip(edges[0], edges[-1])
        weights = np.full(len(clipped), 1 / max(1, len(clipped)))
        axes.hist(clipped, edges.tolist(), weights=weights, histtype="step", color=colour, linewidth=1.5)
