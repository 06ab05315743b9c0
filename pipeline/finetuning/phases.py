"""What fine-tuning goes through: one phase, or several with depths, sizes and rates of their own; and how deep by rule."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import keras

from pipeline.config import Config, FinetuneConfig
from pipeline.models.freezing import first_trainable
from pipeline.models.graph import count_macs
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)


def finetune_phases(config: Config, backbone: keras.Model, images: int) -> list[FinetuneConfig]:
    """The phases of fine-tuning in order, each as if it were the only one, its depth one of the backbone's own.

    Args:
        config: with `finetune.phases`, or null for one phase.
        backbone: at `image_size`.
        images: for training.

    Raises:
        PipelineError: there is no such depth, nothing learns at one, or a phase contradicts another.
    """
    phases = [replace(config.finetune, phases=None, **each) for each in config.finetune.phases or [{}]]
    epochs = sum(phase.epochs for phase in phases)
    phases = [replace(phase, unfreeze=depth(phase, config, backbone, images * epochs)) for phase in phases]
    starts = [first_trainable(backbone, phase.unfreeze, config.backbone.blocks) for phase in phases]
    for phase, start in zip(phases, starts, strict=True):
        _check_depth(phase, backbone, start)
    for number, (earlier, later) in enumerate(pairwise(starts), start=1):
        if later > earlier:
            raise PipelineError(
                f"finetune.phases: phase {number + 1} ({phases[number].unfreeze}) freezes what phase {number} ({phases[number - 1].unfreeze}) "
                "has trained; give them in the order in which more is unfrozen"
            )
    return phases


def depth(phase: FinetuneConfig, config: Config, backbone: keras.Model, passes: int) -> int | str:
    """`unfreeze`, or where that is auto: all if `passes` of images through the backbone are within the budget, else its upper part."""
    if phase.unfreeze != "auto":
        return phase.unfreeze
    wanted = passes * count_macs(backbone) / 1e12
    fits = wanted <= phase.budget
    log.info(
        "finetune.unfreeze=auto: %d images at %d px through all of %s are %.2f of finetune.budget=%g (10^12 multiplications): %s",
        passes, config.image_size, config.backbone.name, wanted, phase.budget,
        "all of it learns" if fits else f"only its upper part learns, from {config.backbone.unfreeze}",
    )  # fmt: skip
    return "all" if fits else config.backbone.unfreeze


def _check_depth(phase: FinetuneConfig, backbone: keras.Model, start: int) -> None:
    norms = keras.layers.BatchNormalization
    learning = [
        layer
        for layer in backbone.layers[start:]
        if layer.weights and not (phase.freeze_batch_norm and isinstance(layer, norms))
    ]
    if learning or phase.unfreeze == "none":
        if not learning:
            log.warning("finetune.unfreeze=none: the head alone learns on")
        return
    raise PipelineError(
        f"finetune.unfreeze: nothing learns from {phase.unfreeze!r} on; name a lower block, or say none for the head alone"
    )


def told(phases: Sequence[FinetuneConfig]) -> str:
    """The depths in a few words."""
    return ", then ".join(str(phase.unfreeze) for phase in phases)
