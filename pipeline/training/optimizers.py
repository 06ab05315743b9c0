"""Optimizers and learning-rate schedules of a phase, created from its configuration."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pipeline.config import PhaseConfig


class FusedAdam(keras.optimizers.Adam):
    """Adam that updates each variable in one operation, which reads and writes it once; Keras uses twelve."""

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Update a variable and its moments in place."""
        if tf.distribute.has_strategy():
            # Replicated variables have no single handle.
            super().update_step(gradient, variable, learning_rate)
            return
        index, step = self._get_variable_index(variable), ops.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=ops.power(ops.cast(self.beta_1, variable.dtype), step),
            beta2_power=ops.power(ops.cast(self.beta_2, variable.dtype), step),
            lr=ops.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


# Optimizers that are not the class of Keras with the capitalised name. AdamW is Adam with weight decay.
_KINDS = {
    "adam": FusedAdam,
    "adamw": FusedAdam,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


def make_optimizer(
    settings: PhaseConfig,
    rates: keras.optimizers.schedules.LearningRateSchedule,
    variables: Sequence[keras.Variable],
    *,
    rate_factors: Mapping[int, float],
    loss_scaling: bool,
) -> keras.optimizers.Optimizer:
    """Create the optimizer of a phase.

    Args:
        settings: Settings of the phase, with the optimizer's name and options.
        rates: Learning rate by step.
        variables: Variables to train, in the network's order.
        rate_factors: Learning-rate factors by the variable's `id()`; see `pipeline.models.freezing.rate_factors`.
        loss_scaling: Whether to scale the loss, which keeps small float16 gradients from underflow.
    """
    kind = _KINDS.get(settings.optimizer) or getattr(keras.optimizers, settings.optimizer.capitalize())
    options: dict[str, object] = {
        "learning_rate": rates,
        "global_clipnorm": settings.clip_norm,
        "use_ema": settings.ema is not None,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    if settings.ema is not None:
        options["ema_momentum"] = settings.ema
    if settings.optimizer == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": True}
    factors = [rate_factors.get(id(variable), 1.0) for variable in variables]
    decays = [settings.weight_decay if len(variable.shape) > 1 else 0.0 for variable in variables]
    if any(factor != 1 for factor in factors):
        optimizer = _by_variable(kind)(factors, decays, **options)
    else:
        optimizer = kind(weight_decay=settings.weight_decay or None, **options)
        optimizer.exclude_from_weight_decay([v for v, decay in zip(variables, decays, strict=True) if not decay])
    return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scaling else optimizer


def _by_variable(kind: type) -> type:
    """Derive a class from an optimizer class that has a learning-rate factor and a weight decay for each variable."""

    class ByVariable(kind):
        def __init__(self, factors: Sequence[float], decays: Sequence[float], **options: object):
            super().__init__(weight_decay=None, **options)
            self.factors, self.decays = tuple(factors), tuple(decays)

        def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
            index = self._get_variable_index(variable)
            rate = keras.ops.cast(learning_rate, variable.dtype) * self.factors[index]
            if self.decays[index]:
                self.assign_sub(variable, variable * self.decays[index] * rate)
            super().update_step(gradient, variable, rate)

    ByVariable.__name__ = kind.__name__
    return ByVariable


# One-cycle schedule (L. Smith, Super-Convergence, 2018) with the default values of fast.ai.
_ONE_CYCLE_RISE, _ONE_CYCLE_START = 0.3, 1 / 25


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """Learning-rate schedule with a linear warm-up to the highest rate, followed by the configured schedule."""

    def __init__(self, settings: PhaseConfig, steps_per_epoch: int):
        """Create the schedule from a phase's `learning_rate`, `schedule`, warm-up and epochs."""
        self.highest, self.kind = settings.learning_rate, settings.schedule
        self.steps = settings.epochs * steps_per_epoch
        self.start = 0.0
        self.rise = (
            round(settings.warmup_epochs * steps_per_epoch) if settings.warmup_steps is None else settings.warmup_steps
        )
        if self.kind == "one_cycle":
            self.rise, self.start = round(_ONE_CYCLE_RISE * self.steps), _ONE_CYCLE_START
        self.every, self.factor = settings.step_epochs * steps_per_epoch, settings.step_factor

    def __call__(self, step: tf.Tensor | np.ndarray | int) -> tf.Tensor:
        """Return the learning rate of a step, counted from 0, or of an array of steps, as float32 of the same shape."""
        step = ops.cast(step, "float32")
        rising = self.start + (1 - self.start) * step / max(1, self.rise)
        # Progress is 0 at the end of the warm-up, and 1 after the last step.
        progress = ops.clip((step - self.rise) / max(1, self.steps - self.rise), 0.0, 1.0)
        if self.kind in ("cosine", "one_cycle"):
            after = (1 + ops.cos(math.pi * progress)) / 2
        elif self.kind == "step":
            after = self.factor ** ops.floor(ops.maximum(step - self.rise, 0) / self.every)
        else:
            after = ops.ones_like(step)
        return self.highest * ops.where(step < self.rise, rising, after)

    def of(self, steps: int) -> np.ndarray:
        """Return the learning rates of the first `steps` steps, rounded to seven digits, float64 [steps]."""
        return np.array([f"{rate:.7g}" for rate in ops.convert_to_numpy(self(np.arange(steps)))], np.float64)
