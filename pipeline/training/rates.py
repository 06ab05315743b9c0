"""Learning rates by step."""

import keras

from pipeline.config import FinetuneConfig


def learning_rate(
    finetune: FinetuneConfig, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The rate by step: linear from 0 to its peak over the warm-up, then constant, or to 0 along half a cosine."""
    warmup = round(finetune.warmup_epochs * steps_per_epoch)
    cosine = finetune.schedule == "cosine"
    if not cosine and not warmup:
        return finetune.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else finetune.learning_rate,
        decay_steps=max(1, finetune.epochs * steps_per_epoch - warmup),
        # Falling to the whole of the rate is staying there.
        alpha=0.0 if cosine else 1.0,
        warmup_target=finetune.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
