"""Accuracy on corrupted test images."""

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


def chosen_images(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Choose the images to corrupt, all of `count` or a seeded draw of `limit`: indices int [m], ascending."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def accuracy_under_corruptions(
    images: DecodedImages, labels: np.ndarray, *, predict: PredictPixels, evaluate: EvaluateConfig, seed: int
) -> pd.DataFrame:
    """Accuracy with its Wilson interval under each corruption at each severity.

    Args:
        images: the test images.
        labels: their class indices, int [n].
        predict: from images uint8 [b, size, size, 3] to class probabilities [b, classes].
        evaluate: number of images to corrupt, batch size, and confidence of the intervals.
        seed: of the choice of images, and of the corruptions.

    Returns:
        A row for each corruption and severity, with `COLUMNS`.
    """
    indices = chosen_images(len(labels), evaluate.corruption_images, seed)
    parts = np.split(indices, range(evaluate.batch_size, len(indices), evaluate.batch_size))
    rows = []
    with progress("corrupted images", len(CORRUPTIONS) * len(SEVERITIES) * len(indices)) as advance:
        for name, severity in product(CORRUPTIONS, SEVERITIES):
            hits = 0
            for part in parts:
                corrupt_one = partial(_corrupt_image, images, name, severity, seed)
                corrupted: list[np.ndarray] = list(on_all_cores(corrupt_one, part))
                hits += int((predict(np.stack(corrupted)).argmax(axis=1) == labels[part]).sum())
                advance(len(part), note=f"{name} {severity}")
            low, high = wilson(hits, len(indices), evaluate.confidence)
            rows.append((name, severity, len(indices), hits / len(indices), float(low), float(high)))
    return pd.DataFrame(rows, columns=COLUMNS)


def corrupted_figures(
    table: pd.DataFrame, hits: np.ndarray, evaluate: EvaluateConfig, seed: int
) -> dict[str, float | int]:
    """Summarise accuracy under corruptions.

    Args:
        table: of `accuracy_under_corruptions`.
        hits: which of all test images are predicted rightly as they are, bool [n].
        evaluate: number of images to corrupt, and confidence of the interval.
        seed: of the choice of images.

    Returns:
        Mean accuracy over all corruptions, that of each, and that of the same images as they are: clean, clean_low and
        clean_high.
    """
    clean = hits[chosen_images(len(hits), evaluate.corruption_images, seed)]
    low, high = wilson(clean.sum(), len(clean), evaluate.confidence)
    by_corruption = table.groupby("corruption", sort=False)["accuracy"].mean()
    return {
        "mean": float(by_corruption.mean()),
        "clean": float(clean.mean()),
        "clean_low": float(low),
        "clean_high": float(high),
        "images": len(clean),
        **{str(name): float(accuracy) for name, accuracy in by_corruption.items()},
    }


def _corrupt_image(images: DecodedImages, name: str, severity: int, seed: int, index: int) -> np.ndarray:
    return corrupt(images.take(np.array([index]))[0], name, severity, seed + int(index))
