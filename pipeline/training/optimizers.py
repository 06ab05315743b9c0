"""From a configuration to one of Keras's optimizers. Averages, accumulated gradients and steps are its variables."""

from collections.abc import Mapping, Sequence

import keras

from pipeline.config import PhaseConfig

_NAMES = {"adamw": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "lion": "Lion"}
"""Those that are not their name with a capital; Keras's AdamW is its Adam with a weight decay."""


def make_optimizer(
    settings: PhaseConfig,
    rate: keras.optimizers.schedules.LearningRateSchedule,
    variables: Sequence[keras.Variable],
    factors: Mapping[int, float],
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
