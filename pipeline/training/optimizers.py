"""Optimizers and learning-rate schedules, from the configuration of a phase."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from pipeline.config import PhaseConfig

_NAMES = {"adamw": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "lion": "Lion"}
"""Those that are not their name with a capital; Keras's AdamW is its Adam with a weight decay."""


def make_optimizer(
    settings: PhaseConfig,
    rate: keras.optimizers.schedules.LearningRateSchedule,
    variables: Sequence[keras.Variable],
    factors: Mapping[int, float],
    *,
    loss_scaling: bool,
) -> keras.optimizers.Optimizer:
    """The optimizer of a phase.

    Args:
        settings: which one, and its strengths.
        rate: by step.
        variables: that it will learn, in the network's order.
        factors: what of them learn at a share of the rate, by id; see `pipeline.models.freezing.rate_factors`.
        loss_scaling: whether gradients come in float16, whose smallest numbers are not small enough.
    """
    kind = getattr(keras.optimizers, _NAMES.get(settings.optimizer, settings.optimizer.capitalize()))
    options = {
        "learning_rate": rate,
        "global_clipnorm": settings.clip_norm,
        "use_ema": settings.ema is not None,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    if settings.ema is not None:
        options["ema_momentum"] = settings.ema
    if settings.optimizer == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": True}
    shares = [factors.get(id(variable), 1.0) for variable in variables]
    decays = [settings.weight_decay if len(variable.shape) > 1 else 0.0 for variable in variables]
    if any(share != 1 for share in shares):
        optimizer = _by_variable(kind)(shares, decays, **options)
    else:
        optimizer = kind(weight_decay=settings.weight_decay or None, **options)
        optimizer.exclude_from_weight_decay([v for v, decay in zip(variables, decays, strict=True) if not decay])
    return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scaling else optimizer


def _by_variable(kind: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """`kind` with a rate for each variable, which its weight decay follows: Keras's own takes the whole rate."""

    class ByVariable(kind):
        def __init__(self, shares: Sequence[float], decays: Sequence[float], **options):
            super().__init__(weight_decay=None, **options)
            self.shares, self.decays = tuple(shares), tuple(decays)

        def update_step(self, gradient, variable, learning_rate):
            place = self._get_variable_index(variable)
            rate = keras.ops.cast(learning_rate, variable.dtype) * self.shares[place]
            if self.decays[place]:
                self.assign_sub(variable, variable * self.decays[place] * rate)
            super().update_step(gradient, variable, rate)

    ByVariable.__name__ = kind.__name__
    return ByVariable


# L. Smith, Super-Convergence (2018), as fast.ai has it.
_ONE_CYCLE_RISE, _ONE_CYCLE_START = 0.3, 1 / 25


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """The rate by step: a rise to its highest, then what the schedule's name says."""

    def __init__(self, settings: PhaseConfig, steps_per_epoch: int):
        self.highest, self.kind = settings.learning_rate, settings.schedule
        self.steps = settings.epochs * steps_per_epoch
        self.start = 0.0
        self.rise = (
            round(settings.warmup_epochs * steps_per_epoch) if settings.warmup_steps is None else settings.warmup_steps
        )
        if self.kind == "one_cycle":
            self.rise, self.start = round(_ONE_CYCLE_RISE * self.steps), _ONE_CYCLE_START
        self.every, self.factor = settings.step_epochs * steps_per_epoch, settings.step_factor

    def __call__(self, step):
        """The rate of a step, counted from 0, or of an array of them: float32 of the same shape."""
        step = ops.cast(step, "float32")
        rising = self.start + (1 - self.start) * step / max(1, self.rise)
        # The last step of all is the first at 0.
        share = ops.clip((step - self.rise) / max(1, self.steps - self.rise), 0.0, 1.0)
        if self.kind in ("cosine", "one_cycle"):
            after = (1 + ops.cos(math.pi * share)) / 2
        elif self.kind == "step":
            after = self.factor ** ops.floor(ops.maximum(step - self.rise, 0) / self.every)
        else:
            after = ops.ones_like(step)
        return self.highest * ops.where(step < self.rise, rising, after)

    def of(self, steps: int) -> np.ndarray:
        """The rates of the first so many steps, float64."""
        return np.array([f"{rate:.7g}" for rate in ops.convert_to_numpy(self(np.arange(steps)))], np.float64)
