"""Rounds of fine-tuning with their settings, and the choice of the unfreeze depth for unfreeze=auto.

The configuration calls rounds phases (`finetune.phases`); in code a phase is feature extraction or fine-tuning.
"""

import logging
from dataclasses import dataclass, replace
from itertools import pairwise

import keras

from pipeline.config import BackboneConfig, FinetuneConfig
from pipeline.config.size import size_of, size_text
from pipeline.finetuning.low_rank import updatable
from pipeline.models.freezing import first_trainable
from pipeline.models.graph import count_macs
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round:
    """Round of fine-tuning with a known unfreeze depth."""

    settings: FinetuneConfig
    """Settings of this round; `unfreeze` is a depth of the backbone, never auto."""
    first_layer: int
    """Index of the backbone's first trainable layer."""


def finetune_rounds(
    finetune: FinetuneConfig, backbone: BackboneConfig, network: keras.Model, images: int
) -> list[Round]:
    """Return the rounds of fine-tuning in order.

    Args:
        finetune: Settings with `phases`, which is null for a single round.
        backbone: Settings of the backbone, with the pattern of its blocks and the upper part that auto may select.
        network: The backbone itself, at the image size of the experiment.
        images: Number of training images.

    Raises:
        PipelineError: An unfreeze depth is unknown or leaves nothing to train, a round freezes layers that an
            earlier round has trained, or low-rank updates are not possible.
    """
    all_settings = [replace(finetune, phases=None, **each) for each in finetune.phases or [{}]]
    passes = images * sum(settings.epochs for settings in all_settings)
    rounds = []
    for settings in all_settings:
        auto = settings.unfreeze == "auto"
        unfreeze = affordable_depth(settings.budget, backbone, network, passes) if auto else settings.unfreeze
        first_layer = first_trainable(network, unfreeze, backbone.blocks)
        rounds.append(Round(replace(settings, unfreeze=unfreeze), first_layer))
        _check_low_rank(rounds[-1], backbone, network)
        _check_depth(rounds[-1], network)
    for number, (earlier, later) in enumerate(pairwise(rounds), start=1):
        if later.first_layer > earlier.first_layer:
            raise PipelineError(
                f"finetune.phases: round {number + 1} ({later.settings.unfreeze}) freezes layers that round {number} "
                f"({earlier.settings.unfreeze}) has trained; order the rounds so that none freezes trained layers"
            )
    return rounds


def affordable_depth(budget: float, backbone: BackboneConfig, network: keras.Model, passes: int) -> int | str:
    """Choose the depth for unfreeze=auto, which is all if that is within the budget, otherwise the upper part.

    Args:
        budget: Budget for the forward passes of all images in all epochs, in 10^12 multiply-adds.
        backbone: Settings of the backbone, with its upper part.
        network: The backbone itself.
        passes: Number of images times number of epochs.
    """
    needed = passes * count_macs(network) / 1e12
    fits = needed <= budget
    log.info(
        "finetune.unfreeze=auto: %d forward passes at %s through all of %s need %.2f of finetune.budget=%g "
        "(10^12 multiply-adds): %s",
        passes, size_text(size_of(*network.input_shape[1:3])), backbone.name, needed, budget,
        "all of it is trained" if fits else f"its upper part is trained, from {backbone.unfreeze} on",
    )  # fmt: skip
    return "all" if fits else backbone.unfreeze


def _check_low_rank(each: Round, backbone: BackboneConfig, network: keras.Model) -> None:
    rank = each.settings.lora_rank
    if rank is None:
        return
    updated = updatable(network.layers[each.first_layer :])
    if not updated:
        raise PipelineError(
            f"finetune.lora_rank: invalid value {rank} with backbone={backbone.name} and unfreeze={each.settings.unfreeze}, "
            "which unfreezes no block of a vision transformer; unfreeze one, or use null"
        )
    width = min(min(layer.kernel.shape) for layer in updated)
    if rank > width:
        raise PipelineError(
            f"finetune.lora_rank: invalid value {rank} with backbone={backbone.name}, whose queries and values have "
            f"{width} features; use at most {width}, or null"
        )


def _check_depth(each: Round, network: keras.Model) -> None:
    frozen = keras.layers.BatchNormalization if each.settings.freeze_batch_norm else ()
    if any(layer.weights and not isinstance(layer, frozen) for layer in network.layers[each.first_layer :]):
        return
    if each.settings.unfreeze != "none":
        raise PipelineError(
            f"finetune.unfreeze: no trainable layer at or above {each.settings.unfreeze!r}; choose a lower block, or "
            "`none` to train only the head"
        )
    log.warning("finetune.unfreeze=none: only the head is trained further")
