"""A classifier in two parts: what is frozen, in its fastest form, and what learns."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from pipeline.config import BackboneConfig
from pipeline.models.folding import folded
from pipeline.models.freezing import all_layers, first_trainable, freeze, unfreeze
from pipeline.models.fused_training import absorb_frozen_batch_norm, branch_rates
from pipeline.models.graph import cut_points, split_below
from pipeline.models.precision import Arithmetic, frozen_arithmetic, trainable_arithmetic

Infer = Callable[[tf.Tensor], tf.Tensor]


class FrozenPart:
    """All of a classifier up to a cut: preprocessing, the backbone's lower part, and the pooling where that is the whole backbone."""

    def __init__(self, preprocessing: keras.Model, lower: keras.Model, dtype: str, *, pooled: bool = False):
        """`dtype` is that of the arithmetic within the backbone: float32, bfloat16 or float16."""
        self._preprocessing, self._lower, self._pooled = preprocessing, lower, pooled
        self.arithmetic = dtype
        #: Nothing was learned below the cut, so nothing is computed that would be worth keeping.
        self.empty = not lower.weights
        #: Of the output for one image.
        self.shape = (lower.output.shape[-1],) if pooled else tuple(lower.output.shape[1:])
        #: Of the output, by NumPy's name: the arithmetic's own, so that what is kept equals what is computed.
        self.dtype = "float32" if pooled or self.empty else dtype

    @cached_property
    def from_pixels(self) -> Infer:
        """uint8 [b, size, size, 3] to [b, *shape], in inference mode. Made once, outside of graphs."""
        return self._compiled(self._preprocessing.inputs[0], self._preprocessing.outputs[0], self._lower.inputs[0])

    @property
    def unpooled(self) -> "FrozenPart":
        """Up to the backbone's last feature maps where it is pooled; else this one itself."""
        return FrozenPart(self._preprocessing, self._lower, self.arithmetic) if self._pooled else self

    @cached_property
    def digest(self) -> str:
        """What the output is a function of, beside the image: sha256 over operations and weights, and the arithmetic."""
        return self._name(list(_digests(self._lower))[-1][1], pooled=self._pooled)

    def lower_parts(self) -> Iterator[tuple[str, Callable[[], "FrozenPart"]]]:
        """The parts up to each lower place that one tensor holds, from the highest: digest, and what makes it."""
        places = list(_digests(self._lower))
        for tensor, digest in reversed(places if self._pooled else places[:-1]):
            yield self._name(digest), lambda tensor=tensor: self._up_to(tensor)

    def continue_from(self, lower: "FrozenPart") -> Infer:
        """What leads from the output of a part below to that of this one."""
        start = lower._lower.outputs[0]
        first = layers.Input(start.shape[1:], dtype=lower.dtype)
        return self._compiled(first, first, start)

    def _up_to(self, tensor: Any) -> "FrozenPart":
        return FrozenPart(self._preprocessing, keras.Model(self._lower.inputs[0], tensor), self.arithmetic)

    def _compiled(self, first: Any, x: Any, start: Any) -> Infer:
        """From `first`, by way of `x` in the place of the backbone's tensor `start`, to the cut."""
        end = self._lower.outputs[0]
        if start is not end:
            x = folded(keras.Model(start, end), self.arithmetic)(x)
        if self._pooled:
            x = layers.GlobalAveragePooling2D(dtype="float32")(x)
        network = keras.Model(first, x)
        signature = [tf.TensorSpec((None, *first.shape[1:]), first.dtype)]
        return tf.function(lambda batch: tf.cast(network(batch, training=False), self.dtype), input_signature=signature)

    def _name(self, digest: str, *, pooled: bool = False) -> str:
        return f"{digest} {self.arithmetic}{' pooled' * pooled}"


@dataclass(frozen=True)
class Parts:
    """A classifier as a phase of training sees it."""

    frozen: FrozenPart
    """Has its own copy of the weights, made when it computes first."""
    trainable: keras.Model
    """From what `frozen` gives to class probabilities; shares its layers with the classifier."""
    upper: keras.Model | None
    """What of the backbone is in `trainable`."""
    arithmetic: Arithmetic
    """Of `upper`."""
    intermediate: FrozenPart | None = None
    """A place on the frozen part's way whose results are worth keeping too: where the next phase begins by default."""

    @property
    def precision(self) -> str:
        """In words, for people."""
        below = f"frozen {self.frozen.arithmetic}" if not self.frozen.empty else ""
        above = f"trainable {self.arithmetic}" if self.upper and self.upper.trainable_weights else ""
        return ", ".join(filter(None, (below, above, "head float32")))

    @cached_property
    def feature_maps(self) -> Infer:
        """uint8 [b, size, size, 3] to the backbone's last feature maps, in inference mode, in their arithmetic."""
        below = self.frozen.unpooled.from_pixels
        if self.upper is None:
            return below
        return lambda batch: self.upper(below(batch), training=False)

    @contextmanager
    def in_their_arithmetic(self) -> Iterator[None]:
        """Within the block the layers of `upper` compute in theirs. Pooling and head compute in float32."""
        inside = list(all_layers(self.upper)) if self.upper else []
        before = [layer.dtype_policy for layer in inside]
        for layer in inside:
            layer.dtype_policy = self.arithmetic.policy_of(layer)
        try:
            yield
        finally:
            for layer, own in zip(inside, before, strict=True):
                layer.dtype_policy = own


def parts_for_feature_extraction(model: keras.Model, backbone: BackboneConfig, precision: str) -> Parts:
    """Phase 1: all up to the pooled features, and the head.

    A backbone that nobody has pretrained has nothing worth freezing: then the preprocessing alone is frozen.

    Args:
        model: as `pipeline.models.classifier.build_classifier` makes it.
        backbone: what it was made from.
        precision: `hardware.precision`.
    """
    preprocessing, network, pooling, head = _pieces(model)
    arithmetic = frozen_arithmetic(precision)
    if backbone.constructor == "scratch_cnn":
        lower = keras.Model(network.inputs[0], network.inputs[0])
        trainable = keras.Sequential([network, pooling, head], name="trainable")
        frozen = FrozenPart(preprocessing, lower, arithmetic)
        return Parts(frozen, trainable, network, trainable_arithmetic(precision, network))
    above = network.layers[first_trainable(network, backbone.unfreeze, backbone.blocks) :]
    freeze(network)
    intermediate = FrozenPart(preprocessing, split_below(network, above)[0], arithmetic)
    # One of its own: what a model was compiled with is saved with it, and the head is saved.
    trainable = keras.Model(head.inputs[0], head.outputs[0], name="trainable")
    return Parts(
        FrozenPart(preprocessing, network, arithmetic, pooled=True),
        trainable,
        None,
        Arithmetic("float32"),
        intermediate,
    )


def parts_for_finetuning(
    model: keras.Model,
    first_layer: int,
    *,
    freeze_batch_norm: bool,
    precision: str,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
) -> Parts:
    """Phase 2: all below the unfreeze depth, as far as one tensor holds it, and the rest.

    Args:
        model: as `pipeline.models.classifier.build_classifier` makes it.
        first_layer: index of the backbone's first trainable layer (`pipeline.models.freezing.first_trainable`).
        freeze_batch_norm: keep BatchNormalization as it was pretrained.
        precision: `hardware.precision`.
        dropout: before the classifier, 0 to 1; None: as in phase 1.
        stochastic_depth: of the topmost residual branch, 0 to 1; None: as the backbone has it.
    """
    preprocessing, network, pooling, head = _pieces(model)
    learning = unfreeze(network, first_layer, freeze_batch_norm=freeze_batch_norm)
    lower, upper = split_below(network, learning)
    # As long as its convolutions can be told: those that absorb BatchNormalization are all of one kind.
    above = trainable_arithmetic(precision, upper)
    drop_rates = None if stochastic_depth is None else branch_rates(network, stochastic_depth)
    upper = absorb_frozen_batch_norm(upper, drop_rates)
    frozen = FrozenPart(preprocessing, lower, frozen_arithmetic(precision))
    trainable = keras.Sequential([upper, pooling, *_with_dropout(head, dropout)], name="trainable")
    return Parts(frozen, trainable, upper, above)


def _with_dropout(head: keras.Model, rate: float | None) -> list[layers.Layer]:
    """The head with another dropout, which is not saved with it."""
    return [head] if rate is None else [layers.Dropout(rate), *head.layers[1:]]


def _pieces(model: keras.Model) -> tuple[keras.Model, keras.Model, layers.Layer, keras.Model]:
    return tuple(model.get_layer(name) for name in ("preprocessing", "backbone", "pooling", "head"))


def _digests(backbone: keras.Model) -> Iterator[tuple[Any, str]]:
    """Each narrow place of a backbone from bottom to top, the input first, with the sha256 of all that leads to it."""
    digest = hashlib.sha256()
    for operation, tensor in cut_points(backbone):
        digest.update(f"{type(operation).__name__} {tuple(operation.output.shape[1:])}\n".encode())
        for weight in getattr(operation, "weights", ()):
            digest.update(keras.ops.convert_to_numpy(weight).tobytes())
        if tensor is not None:
            yield tensor, digest.hexdigest()


class FrozenBelow(keras.Model):
    """A network in training whose lower part is frozen, and computed anew for each batch."""

    def __init__(self, frozen: FrozenPart, trainable: keras.Model):
        super().__init__()
        self.frozen = frozen.from_pixels
        self.trainable_part = trainable
        # There is nothing that Keras could build by calling it.
        self.built = True

    def call(self, inputs, training=None):
        return self.trainable_part(self.frozen(inputs), training=training)


class AtTwoSizes(keras.Model):
    """A network that learns at one size of images and is validated at another: two that share their weights."""

    def __init__(self, learning: keras.Model, validated: keras.Model):
        super().__init__()
        self.learning, self.validated = learning, validated
        self.built = True

    def call(self, inputs, training=None):
        return (self.learning if training else self.validated)(inputs, training=training)
