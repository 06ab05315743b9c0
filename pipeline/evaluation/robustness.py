"""Accuracy on damaged test images."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from pipeline.config import EvaluateConfig
from pipeline.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from pipeline.evaluation.intervals import wilson
from pipeline.inputs.images import DecodedImages
from pipeline.system.machine import on_all_cores
from pipeline.system.terminal import progress

COLUMNS = ["corruption", "severity", "images", "accuracy", "accuracy_low", "accuracy_high"]

PredictPixels = Callable[[np.ndarray], np.ndarray]


def chosen_images(count: int, most: int | None, seed: int) -> np.ndarray:
    """Places of the images that are damaged: all of `count`, or as many as are wanted, drawn with the seed: int [m], ascending."""
    if most is None or most >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def accuracy_under_corruptions(
    images: DecodedImages, labels: np.ndarray, predict: PredictPixels, evaluate: EvaluateConfig, seed: int
) -> pd.DataFrame:
    """Accuracy with its Wilson interval under each corruption at each severity.

    Args:
        images: the test images.
        labels: their class indices, int [n].
        predict: uint8 [b, size, size, 3] to class probabilities [b, classes].
        evaluate: how many images are damaged, and the confidence of the intervals.
        seed: of which ones, and of the damage.

    Returns:
        a row for each, with `COLUMNS`.
    """
    places = chosen_images(len(labels), evaluate.corruption_images, seed)
    parts = np.split(places, range(evaluate.batch_size, len(places), evaluate.batch_size))
    rows = []
    with progress("damaged images", len(CORRUPTIONS) * len(SEVERITIES) * len(places)) as advance:
        for name, severity in product(CORRUPTIONS, SEVERITIES):
            hits = 0
            for part in parts:
                damage = partial(_damaged, images, name, severity, seed)
                damaged = np.stack(list(on_all_cores(damage, part)))
                hits += int((predict(damaged).argmax(axis=1) == labels[part]).sum())
                advance(len(part), note=f"{name} {severity}")
            low, high = wilson(hits, len(places), evaluate.confidence)
            rows.append((name, severity, len(places), hits / len(places), float(low), float(high)))
    return pd.DataFrame(rows, columns=COLUMNS)


def corrupted_figures(
    table: pd.DataFrame, hits: np.ndarray, evaluate: EvaluateConfig, seed: int
) -> dict[str, float | int]:
    """Mean accuracy over all damage, for each corruption, and of the same images undamaged (`clean`, with its interval); `hits`, bool [n], are of all."""
    places = chosen_images(len(hits), evaluate.corruption_images, seed)
    clean = hits[places]
    low, high = wilson(clean.sum(), len(places), evaluate.confidence)
    by_kind = table.groupby("corruption", sort=False)["accuracy"].mean()
    return {
        "mean": float(by_kind.mean()),
        "clean": float(clean.mean()),
        "clean_low": float(low),
        "clean_high": float(high),
        "images": len(places),
        **by_kind.to_dict(),
    }


def _damaged(images: DecodedImages, name: str, severity: int, seed: int, place: int) -> np.ndarray:
    return corrupt(images.take(np.array([place]))[0], name, severity, seed + int(place))
