"""Low-rank updates (LoRA) of the queries and values in a vision transformer, which are trained instead of its weights.

Source: E. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import keras
import numpy as np
from keras import layers, ops

from pipeline.models.parts import Parts

log = logging.getLogger(__name__)

# Names that pipeline.models.vision_transformer gives to the layers that KerasHub updates by default.
_UPDATED = re.compile(r"block\d+_(query|value)")


def updatable(candidates: Iterable[keras.Operation]) -> list[layers.Dense]:
    """Return the dense layers that low-rank updates are for: the projections to queries and values of each block."""
    return [each for each in candidates if isinstance(each, layers.Dense) and _UPDATED.fullmatch(each.name)]


class LowRankDense(layers.Layer):
    """Dense layer without activation, to whose frozen kernel the product of two small matrices is added."""

    def __init__(self, dense: layers.Dense, rank: int, generator: np.random.Generator):
        """Create an update of zero, which shares the weights of `dense`.

        Args:
            dense: Layer to update.
            rank: Number of columns of the first matrix, and of rows of the second.
            generator: Source of the first matrix, of He's uniform distribution as in Keras; the second is zero.
        """
        # Weights are float32, and cast where they are used.
        super().__init__(name=f"{dense.name}_low_rank", autocast=False)
        self.dense = dense
        inputs, outputs = dense.kernel.shape
        limit = (6 / inputs) ** 0.5
        initial = generator.uniform(-limit, limit, (inputs, rank)).astype(np.float32)
        self.down = self.add_weight(name="down", shape=initial.shape, initializer=lambda *_, **__: initial)
        self.up = self.add_weight(name="up", shape=(rank, outputs), initializer="zeros")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Map features, [..., inputs], to [..., outputs]."""
        inputs, kernel, down, up = (
            ops.cast(each, self.compute_dtype) for each in (inputs, self.dense.kernel, self.down, self.up)
        )
        # Added to the kernel instead, a small update would be lost in reduced precision.
        outputs = ops.matmul(inputs, kernel) + ops.matmul(ops.matmul(inputs, down), up)
        return outputs if self.dense.bias is None else outputs + ops.cast(self.dense.bias, self.compute_dtype)

    def merge(self) -> None:
        """Add the update to the kernel of the dense layer, and set it to zero."""
        kernel, *bias = self.dense.get_weights()
        # In float64, the result does not depend on the order of the sums.
        down, up = (np.asarray(ops.convert_to_numpy(each), np.float64) for each in (self.down, self.up))
        self.dense.set_weights([(kernel + down @ up).astype(np.float32), *bias])
        self.up.assign(np.zeros(self.up.shape, np.float32))


def with_low_rank(parts: Parts, rank: int, seed: int) -> Parts:
    """Return parts in which the head and low-rank updates are trained, and all weights of the backbone are frozen.

    Args:
        parts: Parts for fine-tuning, whose trainable layers get updates. Their variables, not their layers, are frozen,
            so that the classifier is saved as without updates.
        rank: Rank of the updates.
        seed: Seed of their initial values.
    """
    assert parts.upper is not None
    instead = _count(parts.upper.trainable_weights)
    learning = [each for each in parts.upper.layers if each.trainable]
    for weight in parts.upper.weights:
        weight.trainable = False
    chosen = {id(each): number for number, each in enumerate(updatable(learning))}

    def replaced(layer: keras.Operation) -> keras.Operation:
        if id(layer) not in chosen:
            return layer
        return LowRankDense(layer, rank, np.random.default_rng([seed, chosen[id(layer)]]))

    upper = keras.models.clone_model(parts.upper, clone_function=replaced)
    trainable = keras.Sequential([upper, *parts.trainable.layers[1:]], name=parts.trainable.name)
    updates = _count(upper.trainable_weights)
    head = _count(trainable.trainable_weights) - updates
    log.info(
        "finetune.lora_rank=%d: %s weights of updates in %d layers are trained, and %s of the head, instead of the %s of the "
        "unfrozen blocks",
        rank, f"{updates:,}", len(chosen), f"{head:,}", f"{instead:,}",
    )  # fmt: skip
    return replace(parts, trainable=trainable, upper=upper)


def _count(weights: Iterable[keras.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _updates(parts: Parts) -> list[LowRankDense]:
    return [each for each in parts.upper.layers if isinstance(each, LowRankDense)] if parts.upper else []


def update_factors(parts: Parts, factors: Mapping[int, float]) -> dict[int, float]:
    """Return the learning-rate factors of low-rank updates by the variable's `id()`: those of the updated kernels."""
    return {
        id(variable): factors[id(each.dense.kernel)] for each in _updates(parts) for variable in (each.down, each.up)
    }


def merge(parts: Parts) -> None:
    """Add low-rank updates, where `parts` has some, to the weights of the classifier."""
    for each in _updates(parts):
        each.merge()
