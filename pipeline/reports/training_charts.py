"""Charts of training: the data, augmented variants, training curves and the learning-rate range test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.inputs.decoding import decode
from pipeline.inputs.manifest import Manifest, appearance
from pipeline.storage.files import Json
from pipeline.visuals.style import BLUE, GREEN, INK, ORANGE, charting, write_png

_SPLITS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
_MAX_NAMED_CLASSES = 40
_BINS = 30


def plot_samples(manifest: Manifest, folder: Path, seed: int, file: Path) -> None:
    """Draw up to nine random training images with their labels.

    Args:
        manifest: Manifest of the prepared data set.
        folder: Base folder of its paths.
        seed: Seed of the random choice.
        file: Output PNG file.
    """
    training = manifest.split("train")
    chosen = training.iloc[np.random.default_rng(seed).permutation(len(training))[:9]]
    images = [decode((folder / path).read_bytes(), depth=manifest.depth).image for path in chosen["path"]]
    with charting(8, 8.4) as figure:
        for axes, image, label in zip(figure.subplots(3, 3).flat, images, chosen["label"], strict=False):
            axes.imshow(image.resize((224, 224)))
            axes.set_title(label)
        for axes in figure.axes:
            axes.axis("off")
    write_png(figure, file)


def plot_splits(figures: Json, manifest: Manifest, file: Path) -> None:
    """Draw the class frequencies and the distribution of each measure of appearance in each split.

    Args:
        figures: Content of metrics.json of stage prepare.
        manifest: Manifest of the prepared data set.
        file: Output PNG file.
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
        # Outside the axes, because the bars fill them.
        top.legend(loc="outside upper right", ncols=3)
        axes.grid(axis="y")
        for axes, name in zip(bottom.subplots(1, measures.shape[1]), measures.columns, strict=True):
            _histograms(axes, measures[name], split)
            axes.set(title=name.replace("_", " "), yticks=[])
    write_png(figure, file)


def _histograms(axes: Axes, values: pd.Series, split: pd.Series) -> None:
    """Draw one normalized histogram per split, as an outline."""
    # Clipped to percentiles, because a few outliers would compress all other values into one bar.
    low, high = np.percentile(values, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, _BINS)
    for name, colour in _SPLITS.items():
        clipped = values[(split == name).to_numpy()].clip(edges[0], edges[-1])
        weights = np.full(len(clipped), 1 / max(1, len(clipped)))
        axes.hist(clipped, edges.tolist(), weights=weights, histtype="step", color=colour, linewidth=1.5)


def plot_variants(images: np.ndarray, file: Path) -> None:
    """Draw images and their augmented variants, uint8 [images, variants, size, size, 3]; the original comes first."""
    count, number, size = images.shape[:3]
    gap = max(1, size // 16)
    # One array, since a grid of axes takes several times as long to draw.
    spaced = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    mosaic = spaced.swapaxes(1, 2).reshape(count * (size + gap), number * (size + gap), 3)[:-gap, :-gap]
    with charting(1.35 * number, 1.35 * count + 0.3) as figure:
        axes = figure.subplots()
        axes.imshow(mosaic)
        axes.spines[:].set_visible(False)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelsize=8)
        titles = ["original", *(f"variant {each}" for each in range(1, number))]
        axes.set_xticks(np.arange(number) * (size + gap) + size / 2, titles)
        axes.set_yticks([])
    write_png(figure, file)


def training_curves(histories: Sequence[pd.DataFrame], figures: Sequence[Json]) -> Figure:
    """Draw accuracy and loss of both phases by epoch, and mark phase boundaries and kept epochs.

    The kept epoch is the epoch whose weights the phase's model has.

    Args:
        histories: Content of history.csv of each phase, with consecutive epoch numbers.
        figures: Content of metrics.json of each phase.
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
            axes.plot(kept["kept_epoch"], kept[f"val_{name}"], "o", label="kept epoch", **ring)
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
