"""Learning rates by step."""

import math

import keras
import numpy as np
from keras import ops

from pipeline.config import PhaseConfig

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
