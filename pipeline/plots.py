"""The pictures that the stages leave."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

# Class names may hold dollar signs, which are no formulas.
matplotlib.rcParams["text.parse_math"] = False


def plot_samples(images: Sequence[Image.Image], labels: Sequence[str], file: Path) -> None:
    """A grid of up to nine pictures, each under its label."""
    figure = Figure(figsize=(8, 8.4), layout="constrained")
    for axes, image, label in zip(figure.subplots(3, 3).flat, images, labels, strict=False):
        axes.imshow(image.resize((224, 224)))
        axes.set_title(label)
    for axes in figure.axes:
        axes.axis("off")
    _save(figure, file)


def plot_curves(history: pd.DataFrame, kept_epoch: int, file: Path, phase_starts: int | None = None) -> None:
    """Accuracy and loss by epoch, training and validation, with the epoch whose weights were kept.

    Args:
        history: rows as `pipeline.training.Row`.
        kept_epoch: its `epoch`.
        file: PNG to write.
        phase_starts: the first epoch of fine-tuning, marked by a line, where the history holds both phases.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        axes.plot(history["epoch"], history[name], "o-", label="training", color="tab:blue", markersize=4)
        axes.plot(history["epoch"], history[f"val_{name}"], "s-", label="validation", color="tab:orange", markersize=4)
        kept = history.loc[history["epoch"] == kept_epoch, f"val_{name}"]
        axes.plot([kept_epoch], kept, "o", markersize=12, markerfacecolor="none", color="black", label="kept")
        if phase_starts is not None:
            axes.axvline(phase_starts - 0.5, linestyle="--", color="grey", label="fine-tuning begins")
        axes.set(title=name.capitalize(), xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})
