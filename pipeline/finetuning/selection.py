"""Which weights are kept: of phase 1 and 2, and between a start and an end."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.training.history import seven_digits

log = logging.getLogger(__name__)


def validation_score(figures: Mapping[str, float]) -> tuple[float, float]:
    """What decides between two models, the larger the better: accuracy on validation, then loss (smoothed labels alone raise it)."""
    return figures["val_accuracy"], -figures["val_loss"]


def better_phase(train: dict[str, Any], finetune: dict[str, Any]) -> str:
    """Which phase's model is the better one on validation: by accuracy, then by loss; the simpler one where they are equal."""
    return "finetune" if validation_score(finetune) > validation_score(train) else "train"


Weights = Sequence[np.ndarray]


Place = dict[str, float]
"""A place on the way: `share` of it that was gone (0: where the phase began, 1: where it ended), `val_loss` and `val_accuracy` there."""


def interpolate(
    network: keras.Model,
    trained: keras.Model,
    start: Weights,
    end: Place,
    shares: Sequence[float],
    validation: tf.data.Dataset,
) -> Place:
    """Draw fine-tuned weights back towards their start as far as that is better on validation.

    What was learned from few images costs some of what the backbone knew before; between both often lies a better classifier than either
    (Wortsman et al. 2022, Robust fine-tuning of zero-shot models).

    Args:
        network: compiled; what validation is put through.
        trained: holds the weights of the phase, within `network`; it is left with the best ones.
        start: its weights before the phase.
        end: what it is worth now.
        shares: of the way, each above 0 and below 1.
        validation: batches of inputs and labels, the same each time.
    """
    ended = trained.get_weights()
    best = end
    for share in sorted(shares, reverse=True):
        trained.set_weights(between(start, ended, share))
        found = network.evaluate(validation, verbose=0, return_dict=True)
        place = {"share": share} | {f"val_{name}": seven_digits(found[name]) for name in ("loss", "accuracy")}
        log.info("weights at %(share)g of the way  val_loss %(val_loss).4g  val_accuracy %(val_accuracy).4g", place)
        best = max(best, place, key=validation_score)
    trained.set_weights(between(start, ended, best["share"]))
    log.info("the weights at %g of the way from the phase's start are kept", best["share"])
    return best


def between(start: Weights, end: Weights, share: float) -> list[np.ndarray]:
    """Each weight at `share` of the way; those that did not move stay to the bit."""
    return [last if share == 1 else first + share * (last - first) for first, last in zip(start, end, strict=True)]
