"""Choice of weights on validation: between phases 1 and 2, and between a round's first and last weights."""

import logging
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from pipeline.training import Row, seven_digits
from pipeline.training.fit import Fitted

log = logging.getLogger(__name__)

Weights = Sequence[np.ndarray]


def validation_score(metrics: Mapping[str, float]) -> tuple[float, float]:
    """Return what models are compared by, larger is better: validation accuracy, then loss."""
    # Loss comes second: a model that was trained with smoothed labels has a higher one by that alone.
    return metrics["val_accuracy"], -metrics["val_loss"]


def better_phase(train: Mapping[str, float], finetune: Mapping[str, float]) -> str:
    """Return the phase whose model is better by `validation_score`; train where they are equal."""
    return "finetune" if validation_score(finetune) > validation_score(train) else "train"


def interpolate(fitted: Fitted, trained: keras.Model, start: Weights, alphas: Sequence[float]) -> Row:
    """Interpolate between a round's first and last weights, and keep the best weights on validation.

    Fine-tuning on few images loses some of what the backbone knew; between both there is often a better classifier.

    Args:
        fitted: result of the round.
        trained: has the last weights, within the network; its weights are replaced by the best ones.
        start: its weights before the round.
        alphas: to try, each above 0 (the first weights) and below 1 (the last weights).

    Returns:
        `alpha`, `val_loss` and `val_accuracy` of the best weights; `alpha` is 1 where these are the last ones.

    Source:
        M. Wortsman et al., Robust fine-tuning of zero-shot models, 2022.
    """
    last = trained.get_weights()
    best = fitted.kept | {"alpha": 1}
    for alpha in sorted(alphas, reverse=True):
        trained.set_weights(between(start, last, alpha))
        metrics = fitted.network.evaluate(fitted.validation, verbose=0, return_dict=True)
        tried = {"alpha": alpha} | {f"val_{name}": seven_digits(metrics[name]) for name in ("loss", "accuracy")}
        log.info(
            "interpolated weights, alpha %(alpha)g  val_loss %(val_loss).4g  val_accuracy %(val_accuracy).4g", tried
        )
        best = max(best, tried, key=validation_score)
    trained.set_weights(between(start, last, best["alpha"]))
    log.info("kept interpolated weights, alpha = %g (0 = start, 1 = fine-tuned)", best["alpha"])
    return best


def between(start: Weights, end: Weights, alpha: float) -> list[np.ndarray]:
    """Interpolate each weight linearly; with `alpha` = 1 they equal `end` to the bit."""
    return [last if alpha == 1 else first + alpha * (last - first) for first, last in zip(start, end, strict=True)]
