"""Freezing of layers: unfreeze depths, learning-rate factors of blocks, and BatchNormalization."""

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import keras

from pipeline.config import FinetuneConfig
from pipeline.models.classifier import BACKBONE, HEAD
from pipeline.models.graph import cut_points
from pipeline.system.errors import PipelineError

# Largest number of names in a message.
_SHOWN = 10


def block_starts(backbone: keras.Model, pattern: str) -> dict[str, int]:
    """Return the index of each block's first layer in `backbone.layers`, by block name, from bottom to top.

    A block ends with the last layer whose name contains the block's name; the next block begins right after it.

    Args:
        backbone: Backbone from `build_backbone`.
        pattern: Regular expression for layer names, whose first group is the block's name (`backbone.blocks`).
    """
    matches = ((index, re.search(pattern, layer.name)) for index, layer in enumerate(backbone.layers))
    named = {index: match[1] for index, match in matches if match}
    ends = sorted((index, name) for name, index in {name: index for index, name in named.items()}.items())
    # The stem, which consists of the layers before the lowest block, is not part of that block.
    start, (end, lowest) = min(named), ends[0]
    if start == end:
        # Only the last layer of the lowest block has its name, so the block begins right after the stem's highest cut.
        stem = backbone.layers[:end]
        start = 1 + max(stem.index(layer) for layer, cut in cut_points(backbone) if cut is not None and layer in stem)
    return {lowest: start} | {name: below + 1 for (below, _), (_, name) in pairwise(ends)}


def first_trainable(backbone: keras.Model, depth: int | str, pattern: str) -> int:
    """Return the index of the first layer that `finetune.unfreeze` makes trainable, or the number of layers for none.

    Args:
        backbone: Backbone from `build_backbone`.
        depth: all, none, a block's name, or the common prefix of several (block6 starts at block6a). It may also be a
            layer's name or index from 0, or a negative number of blocks from the top.
        pattern: See `block_starts`.

    Raises:
        PipelineError: The backbone has no such block or layer; the message lists the allowed values.
    """
    names = [layer.name for layer in backbone.layers]
    blocks = block_starts(backbone, pattern)
    if isinstance(depth, str) and re.fullmatch(r"-?\d+", depth):
        depth = int(depth)
    if depth == "all":
        return 0
    if depth == "none":
        return len(names)
    if isinstance(depth, int):
        if 0 <= depth < len(names):
            return depth
        if -len(blocks) <= depth < 0:
            return list(blocks.values())[depth]
        raise PipelineError(
            f"finetune.unfreeze: {depth} is not allowed; this backbone has layers 0 to {len(names) - 1} and blocks -1 to -{len(blocks)}"
        )
    if depth in blocks:
        return blocks[depth]
    if depth in names:
        return names.index(depth)
    family = depth and [index for name, index in blocks.items() if re.fullmatch(re.escape(depth) + r"[a-z_].*", name)]
    if family:
        return min(family)
    near = difflib.get_close_matches(depth, [*blocks, *names], n=1)
    raise PipelineError(
        f"finetune.unfreeze: {depth!r} is not a block or layer of this backbone{f'; did you mean {near[0]}?' if near else '.'} "
        f"Allowed: auto, all, none, a layer's name or index (0 to {len(names) - 1}), -1 to -{len(blocks)}. "
        f"The blocks are {_listed(blocks)}"
    )


def _listed(names: Iterable[str]) -> str:
    """Return names as a list for a message, without those in the middle if there are many."""
    shown = list(names)
    return ", ".join(shown if len(shown) <= _SHOWN else [*shown[:3], "...", *shown[-3:]])


def rate_factors(model: keras.Model, pattern: str, settings: FinetuneConfig) -> dict[int, float]:
    """Return the learning-rate factor of each trainable variable, by the variable's `id()`.

    The factor is 1 for the head and the top block. From each block to the one below, and to the stem, it is multiplied
    by `rate_decay`. `rate_factors`, by block name, `head` or `stem`, take precedence.

    Args:
        model: Classifier, whose backbone may have frozen layers.
        pattern: See `block_starts`.
        settings: Settings with `rate_decay` and `rate_factors`.

    Raises:
        PipelineError: `rate_factors` names a block that does not exist.
    """
    backbone, head, named = model.get_layer(BACKBONE), model.get_layer(HEAD), settings.rate_factors or {}
    starts = {"stem": 0} | block_starts(backbone, pattern)
    factors = {name: settings.rate_decay**place for place, name in enumerate(reversed(starts))} | {HEAD: 1.0}
    if unknown := sorted(set(named) - set(factors)):
        raise PipelineError(
            f"finetune.rate_factors: {', '.join(unknown)} is not a block of this backbone; allowed are {_listed(factors)}"
        )
    factors |= named
    by_variable = {id(variable): factors[HEAD] for variable in head.trainable_variables}
    ends = [*list(starts.values())[1:], len(backbone.layers)]
    for (name, start), end in zip(starts.items(), ends, strict=True):
        for layer in backbone.layers[start:end]:
            by_variable |= {id(variable): factors[name] for variable in layer.trainable_variables}
    return by_variable


def unfreeze(backbone: keras.Model, first: int, *, freeze_batch_norm: bool) -> list[keras.layers.Layer]:
    """Freeze the layers of a backbone below index `first`, and make the others trainable.

    BatchNormalization is frozen layer by layer. Keras 3 passes `training=True` to the layers of a nested model, no
    matter how the model was called. Therefore, only a frozen BatchNormalization keeps its statistics.

    Args:
        backbone: Backbone to change in place.
        first: Index of the first trainable layer.
        freeze_batch_norm: Whether to freeze all BatchNormalization layers as well.

    Returns:
        The trainable layers that have weights.
    """
    # A model sets `trainable` of its layers only if its own value changes.
    backbone.trainable = False
    backbone.trainable = True
    for layer in backbone.layers[:first]:
        layer.trainable = False
    if freeze_batch_norm:
        for layer in batch_norms(backbone):
            layer.trainable = False
    return [layer for layer in backbone.layers[first:] if layer.trainable_weights]


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield every layer of a model, including the layers of nested models."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from all_layers(layer)


def batch_norms(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    """Yield every BatchNormalization layer of a model, including those of nested models."""
    return (layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization))


def batch_norm_digest(model: keras.Model) -> str:
    """Return a sha256 of the weights and statistics of all BatchNormalization layers, to detect changes."""
    weights = (weight.tobytes() for layer in batch_norms(model) for weight in layer.get_weights())
    return hashlib.sha256(b"".join(weights)).hexdigest()
