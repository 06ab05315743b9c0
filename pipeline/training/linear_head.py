"""Heads that are fitted to cached features without gradient descent (`train.head: ridge` or `logistic`)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.special import softmax

from pipeline.inputs.batches import Inputs, Labels, batches, in_order
from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import progress
from pipeline.training import seven_digits
from pipeline.training.class_weights import class_weights
from pipeline.training.cross_validation import chunks, fitting, make_folds, training_sample, unit_ids
from pipeline.training.fit import FitContext, Fitted, PhaseFit, PhaseInputs, make_inputs
from pipeline.training.linear_models import Logistic, Ridge, Samples, Solver
from pipeline.training.temperature import at_temperature, fit_temperature

log = logging.getLogger(__name__)

_SOLVERS: dict[str, Callable[[Samples, int], Solver]] = {"ridge": Ridge, "logistic": Logistic}
# Number of images whose features show the scale of all.
_EXAMPLES = 2_000


@dataclass(frozen=True)
class Choice:
    """Chosen penalty, with the out-of-fold figures that it was chosen by."""

    penalty: float
    """L2 penalty on the kernel, for features of unit scale; the loss is a sum over images."""
    temperature: float
    """Temperature of the scores."""
    accuracy: float
    """Accuracy on the unchanged images."""
    loss: float
    """Log loss at this temperature."""


def fit_head(task: PhaseFit, head: str, rows: pd.DataFrame, context: FitContext) -> tuple[Fitted, Json]:
    """Fit a head's only layer to all training images, with the penalty of the lowest out-of-fold loss.

    The layer is divided by the temperature of the out-of-fold scores, so that the softmax is calibrated.

    Args:
        task: Parts of the classifier in feature extraction, whose head is changed in place, data and settings.
        head: Setting `train.head`, ridge or logistic.
        rows: Rows of the manifest for the training and validation images; images of a group share a fold.
        context: Settings and resources of the stage.

    Returns:
        Result with one epoch and no learning rates, and what was chosen, for metrics.json.

    Raises:
        PipelineError: The features are not cached or not finite, or there are too few images.
    """
    inputs, samples = _samples(task, head, rows, context)
    with fitting():
        solver = _SOLVERS[head](samples, context.seed)
        chosen = cross_validate(solver, samples, context.seed)
        [linear] = solver.fits(None, [chosen.penalty])
    *_, dense = task.parts.trainable.layers[-1].layers
    dense.set_weights([linear.kernel * samples.scale / chosen.temperature, linear.bias / chosen.temperature])
    log.info(
        "%s head: penalty %g and temperature %.3f, by %d folds of %d images: accuracy %.4f, loss %.4f out of fold",
        head, chosen.penalty, chosen.temperature, samples.folds.max() + 1, len(inputs.training), chosen.accuracy, chosen.loss,
    )  # fmt: skip
    figures = {
        "head": head,
        "penalty": chosen.penalty,
        "temperature": seven_digits(chosen.temperature),
        "out_of_fold_accuracy": seven_digits(chosen.accuracy),
        "out_of_fold_loss": seven_digits(chosen.loss),
    }
    return _evaluated(task, inputs, context), figures


def _samples(task: PhaseFit, head: str, rows: pd.DataFrame, context: FitContext) -> tuple[PhaseInputs, Samples]:
    data, phase, seed = task.data, task.phase, context.seed
    # All variants are used at once, whatever the number of epochs.
    inputs = make_inputs(task.parts, data, replace(phase, epochs=context.augment.views + 1), context)
    if inputs.network is not task.parts.trainable or inputs.variants is None:
        raise PipelineError(
            f"train.head={head} needs cached features: raise hardware.feature_cache_gib, free disk space, lower "
            "augment.views, or use train.head=softmax"
        )
    labels = data.labels[data.train_indices]
    by_class = class_weights(phase, labels, data.classes) or {}
    samples = Samples(
        inputs.training,
        inputs.variants,
        _unit_scale(inputs.training, seed),
        labels,
        len(data.classes),
        np.array([by_class.get(label, 1.0) for label in labels.tolist()], np.float32),
        make_folds(labels, unit_ids(rows)[data.train_indices], seed),
    )
    return inputs, samples


def _unit_scale(inputs: Inputs, seed: int) -> float:
    """Return the factor that gives features a mean square of 1, from a sample of the images.

    One factor for all features, since a factor of its own would raise those that hardly vary.
    """
    images = training_sample(np.arange(len(inputs)), 1, seed)[:_EXAMPLES]
    features = inputs.take(images, np.zeros(len(images), np.int64))
    size = float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    if not np.isfinite(size):
        raise PipelineError(
            "Features of the backbone are not finite; check backbone.weights, or use hardware.precision=float32"
        )
    return 1 / size if size > 0 else 1.0


def cross_validate(solver: Solver, samples: Samples, seed: int) -> Choice:
    """Choose the penalty of the lowest out-of-fold log loss, the strongest of equally good ones.

    Unchanged images are predicted; none by a classifier that was fitted to one of its own variants or its group.
    """
    labels, folds = samples.labels, samples.folds
    # So many scores are enough to choose by.
    images = np.sort(training_sample(np.arange(len(labels)), samples.classes, seed))
    scores = np.empty((len(solver.penalties), len(images), samples.classes), np.float32)
    known, count = np.empty(len(images), bool), int(folds.max()) + 1
    with progress("fitting the head", count * len(solver.penalties), "fits") as advance:
        for fold in range(count):
            here = np.flatnonzero(folds[images] == fold)
            # No classifier can know a class that its images lack.
            known[here] = np.isin(labels[images[here]], labels[folds != fold])
            for place, linear in enumerate(solver.fits(fold, solver.penalties)):
                for part in chunks(here):
                    scores[place, part] = linear.scores(samples.values(images[part]))
                advance()
    true = labels[images[known]]
    choices = [_choice(penalty, own[known], true) for penalty, own in zip(solver.penalties, scores, strict=True)]
    return min(choices, key=lambda each: each.loss)


def _choice(penalty: float, scores: np.ndarray, labels: np.ndarray) -> Choice:
    probabilities = softmax(scores, axis=1)
    temperature = fit_temperature(labels, probabilities)
    own = at_temperature(probabilities, temperature)[np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(own, np.finfo(np.float32).tiny), dtype=np.float64).mean()
    return Choice(penalty, temperature, float((scores.argmax(axis=1) == labels).mean()), float(loss))


def _evaluated(task: PhaseFit, inputs: PhaseInputs, context: FitContext) -> Fitted:
    """Evaluate the fitted head on unchanged training and validation images, as the only epoch of the phase."""
    data, network = task.data, task.parts.trainable

    def in_batches(features: Inputs, indices: np.ndarray) -> tf.data.Dataset:
        labels = Labels(data.labels[indices], len(data.classes))
        return batches(features, in_order(len(features)), task.phase.batch_size, labels=labels)

    with context.strategy.scope():
        network.compile(
            loss=keras.losses.CategoricalCrossentropy(),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        )
    row = {"epoch": task.epochs_before + 1, "learning_rate": 0.0}
    training = in_batches(inputs.training, data.train_indices)
    validation = in_batches(inputs.validation, data.validation_indices)
    for prefix, images in (("", training), ("val_", validation)):
        values = network.evaluate(images, verbose=0, return_dict=True)
        row |= {f"{prefix}{name}": seven_digits(values[name]) for name in ("loss", "accuracy")}
    context.listener(row)
    return Fitted([row], row, np.empty(0), network, validation)
