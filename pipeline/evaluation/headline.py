"""Headline metrics of an experiment, for DVC's tables."""

from pipeline.config import PHASES
from pipeline.storage.files import Json

# Enough for a single image in 100,000, and the same on machines that differ in the last digits.
_DECIMALS = 6


def headline(metrics: Json) -> dict[str, float]:
    """Return the numbers that people compare, from the content of metrics.json, the most important one first.

    Returns:
        The better phase's accuracy with its interval, macro F1, log loss and calibration error; each phase's accuracy;
        and the number of test images. There are few of them, since DVC shows each as a column.
    """
    best = metrics[metrics["best"]]
    figures = {name: best[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1")}
    figures |= {"log_loss": best["loss"], "ece": best["ece"]}
    # Not by the names of the phases: "train_accuracy" would be taken for the accuracy on training images.
    figures |= {f"accuracy_phase{number}": metrics[phase]["accuracy"] for number, phase in enumerate(PHASES, start=1)}
    return {name: round(value, _DECIMALS) for name, value in figures.items()} | {"images": best["images"]}
