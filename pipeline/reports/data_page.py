"""HTML page of the data: splits, measures of appearance, samples of each class, and augmented variants."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.config import PHASES
from pipeline.inputs.manifest import Manifest, appearance
from pipeline.storage.files import Json
from pipeline.visuals.pages import Thumbnail, cards, mosaic_uri, scale, write_page
from pipeline.visuals.style import BLUE, GREEN, ORANGE, PANEL, Chart, charting

_SPLITS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
_UNITS = {
    "brightness": "mean grey level, 0 to 255",
    "contrast": "standard deviation of grey levels",
    "saturation": "mean of strongest minus weakest channel, 0 to 255",
    "megapixels": "width times height",
    "aspect_ratio": "width divided by height",
}
_BINS, _FEW = 30, 8
_MAX_CLASSES, _MAX_SAMPLES, _PER_CLASS = 60, 60, 4


def write_data_page(
    file: Path, manifest: Manifest, folder: Path, *, counts: Json, augmented: Mapping[str, np.ndarray], seed: int
) -> None:
    """Write the page of the data.

    Args:
        file: Output HTML file.
        manifest: Manifest of the prepared data set.
        folder: Base folder of its paths.
        counts: Number of images by split and class.
        augmented: Images of each phase, uint8 [images, variants, h, w, 3]; the original comes first.
        seed: Seed of the random choice of samples.
    """
    measures, split = appearance(manifest.rows), manifest.rows["split"]
    described = [_describe(name, measures[name], split) for name in measures.columns]
    table = pd.DataFrame(counts).reindex(manifest.classes)[list(_SPLITS)].fillna(0).astype(int)
    write_page(
        "data.html",
        file,
        title="Data",
        splits=_SPLITS,
        totals=table.sum().to_dict(),
        classes=len(table),
        by_class=_by_class(table),
        charts=[each for each in described if isinstance(each, Chart)],
        sentences=[each for each in described if isinstance(each, str)],
        samples=cards(samples(manifest, folder, seed), depth=manifest.depth),
        augmented={phase: (mosaic_uri(augmented[phase]), augmented[phase].shape[1]) for phase in PHASES},
    )


def _by_class(table: pd.DataFrame) -> Json:
    """Return the fraction of each split that each class has, for at most 60 classes: the largest and the smallest."""
    fractions = table / table.sum().clip(lower=1)
    shown = table.sort_values("train", ascending=False, kind="stable")
    if len(shown) > _MAX_CLASSES:
        shown = pd.concat([shown.head(_MAX_CLASSES // 2), shown.tail(_MAX_CLASSES // 2)])
    ends = scale(0.0, float(fractions.loc[shown.index].to_numpy().max()))
    rows = [
        {"name": name, "counts": list(table.loc[name]), "fractions": list(fractions.loc[name])} for name in shown.index
    ]
    return {"rows": rows, "ends": ends, "left_out": len(table) - len(shown)}


def _plain(value: float) -> str:
    """Return a number with four digits, and without an exponent: tiny images have 0.000064 megapixels."""
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")


def _describe(name: str, values: pd.Series, split: pd.Series) -> Chart | str:
    """Describe a measure: in a sentence if it has few values, otherwise by a histogram of each split."""
    title = name.replace("_", " ").capitalize()
    measured = title if _UNITS[name] == name else f"{title} ({_UNITS[name]})"
    frequent = values.round(6).value_counts(normalize=True)
    if len(frequent) == 1:
        return f"{measured}: {_plain(frequent.index.to_numpy()[0])} for all images."
    if len(frequent) <= _FEW:
        pairs = zip(frequent.index.to_numpy(), frequent, strict=True)
        parts = ", ".join(f"{_plain(value)} for {fraction:.1%}" for value, fraction in pairs)
        return f"{measured}: {parts} of the images."
    with charting(*PANEL) as figure:
        axes = figure.subplots()
        _histograms(axes, values, split)
        axes.set(xlabel=_UNITS[name], ylabel="fraction of the split")
        axes.grid()
    return Chart(title, figure, tuple(_SPLITS.items()))


def _histograms(axes: Axes, values: pd.Series, split: pd.Series) -> None:
    """Draw one normalized histogram per split, as an outline."""
    # Clipped to percentiles, because a few outliers would compress all other values into one bar.
    low, high = np.percentile(values, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, _BINS)
    for name, colour in _SPLITS.items():
        clipped = values[(split == name).to_numpy()].clip(edges[0], edges[-1])
        weights = np.full(len(clipped), 1 / max(1, len(clipped)))
        axes.hist(clipped, edges.tolist(), weights=weights, histtype="step", color=colour, linewidth=1.5)


def samples(manifest: Manifest, folder: Path, seed: int) -> list[Thumbnail]:
    """Choose random training images: up to four of each class, and at least one if there are at most 60 classes.

    Args:
        manifest: Manifest of the prepared data set.
        folder: Base folder of its paths.
        seed: Seed of the random choice.
    """
    training = manifest.split("train")
    generator = np.random.default_rng(seed)
    shuffled = training.iloc[generator.permutation(len(training))]
    classes = generator.permutation(np.asarray(manifest.classes, object))[:_MAX_SAMPLES]
    each = min(_PER_CLASS, max(1, _MAX_SAMPLES // len(classes)))
    chosen = shuffled[shuffled["label"].isin(classes)].groupby("label", sort=False).head(each)
    order = pd.Categorical(chosen["label"], categories=pd.Index(manifest.classes))
    rows = chosen.assign(order=order.codes).sort_values("order", kind="stable")
    return [Thumbnail(folder, path, label) for path, label in zip(rows["path"], rows["label"], strict=True)]
