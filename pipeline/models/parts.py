"""A classifier in two parts: the frozen one, in its fastest form, and the trainable one."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import keras
import tensorflow as tf
from keras import layers

from pipeline.config import BackboneConfig
from pipeline.models.classifier import BACKBONE, HEAD, POOLING, PREPROCESSING
from pipeline.models.folding import folded
from pipeline.models.freezing import all_layers, first_trainable, unfreeze
from pipeline.models.fused_training import absorb_frozen_batch_norm, branch_rates
from pipeline.models.graph import cut_points, split_below
from pipeline.models.precision import Arithmetic, frozen_arithmetic, trainable_arithmetic

Infer = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, eq=False)
class FrozenPart:
    """A classifier up to a cut: preprocessing, the backbone below the cut, and the pooling where that is all of it."""

    preprocessing: keras.Model
    lower: keras.Model
    """The backbone up to the cut."""
    arithmetic: str
    """Dtype that the backbone computes in: float32, bfloat16 or float16."""
    pooled: bool = field(default=False, kw_only=True)
    """Whether the output is the mean over the feature maps."""

    @property
    def empty(self) -> bool:
        """Return whether there are no weights below the cut, so that nothing is computed that is worth caching."""
        return not self.lower.weights

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the output for one image."""
        shape = self.lower.output.shape
        return (shape[-1],) if self.pooled else tuple(shape[1:])

    @property
    def dtype(self) -> str:
        """Return the dtype of the output, by NumPy's name: the arithmetic's own, so that caching it loses nothing."""
        return "float32" if self.pooled or self.empty else self.arithmetic

    @cached_property
    def from_pixels(self) -> Infer:
        """Compute uint8 [b, size, size, 3] to [b, *shape], in inference mode; made on first use, outside of graphs."""
        return self._compile(self.preprocessing.inputs[0], self.preprocessing.outputs[0], self.lower.inputs[0])

    def continue_from(self, other: "FrozenPart") -> Infer:
        """Return what computes the output of this part from that of a lower one."""
        start = other.lower.outputs[0]
        inputs = layers.Input(start.shape[1:], dtype=other.dtype)
        return self._compile(inputs, inputs, start)

    @cached_property
    def digest(self) -> str:
        """Return what the output depends on beside the image: sha256 of operations and weights, and the arithmetic."""
        *_, (_, digest) = _cut_digests(self.lower)
        return self._name(digest, pooled=self.pooled)

    def lower_parts(self) -> Iterator[tuple[str, Callable[[], "FrozenPart"]]]:
        """Yield the parts up to each lower cut, the highest first: digest, and a function that makes the part."""
        cuts = list(_cut_digests(self.lower))
        for tensor, digest in reversed(cuts if self.pooled else cuts[:-1]):
            yield self._name(digest), partial(self._up_to, tensor)

    def _up_to(self, cut: keras.KerasTensor) -> "FrozenPart":
        return FrozenPart(self.preprocessing, keras.Model(self.lower.inputs[0], cut), self.arithmetic)

    def _compile(self, inputs: keras.KerasTensor, x: keras.KerasTensor, start: keras.KerasTensor) -> Infer:
        """Compile what leads from `inputs` to the cut, with `x`, computed from them, in place of the cut `start`."""
        end = self.lower.outputs[0]
        if start is not end:
            x = folded(keras.Model(start, end), self.arithmetic)(x)
        if self.pooled:
            x = layers.GlobalAveragePooling2D(dtype="float32")(x)
        network = keras.Model(inputs, x)
        signature = [tf.TensorSpec((None, *inputs.shape[1:]), inputs.dtype)]
        return tf.function(lambda batch: tf.cast(network(batch, training=False), self.dtype), input_signature=signature)

    def _name(self, digest: str, *, pooled: bool = False) -> str:
        return f"{digest} {self.arithmetic}{' pooled' * pooled}"


@dataclass(frozen=True)
class Parts:
    """A classifier as a phase trains it."""

    frozen: FrozenPart
    """Copies the weights on first use."""
    trainable: keras.Model
    """From the output of `frozen` to class probabilities; shares its layers with the classifier."""
    upper: keras.Model | None
    """The part of the backbone in `trainable`; None: none of it."""
    arithmetic: Arithmetic
    """Of `upper`."""
    intermediate: FrozenPart | None = None
    """A lower cut whose features are cached too: where the next phase begins by default."""

    @property
    def precision(self) -> str:
        """Describe the precision of each part."""
        lower = f"frozen {self.frozen.arithmetic}" if not self.frozen.empty else ""
        upper = f"trainable {self.arithmetic}" if self.upper and self.upper.trainable_weights else ""
        return ", ".join(filter(None, (lower, upper, "head float32")))

    @cached_property
    def feature_maps(self) -> Infer:
        """Compute uint8 [b, size, size, 3] to the backbone's last feature maps, in inference mode."""
        upper = self.upper
        if upper is None:
            return replace(self.frozen, pooled=False).from_pixels
        lower = self.frozen.from_pixels
        return lambda batch: upper(lower(batch), training=False)

    @contextmanager
    def in_their_arithmetic(self) -> Iterator[None]:
        """Let the layers of `upper` compute in `arithmetic` within the block; pooling and head compute in float32."""
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
    """Divide a classifier for phase 1: all up to the pooled features is frozen, the head is trainable.

    Of a backbone that is never pretrained only the preprocessing is frozen.

    Args:
        model: of `pipeline.models.classifier.build_classifier`.
        backbone: its configuration.
        precision: `hardware.precision`.
    """
    preprocessing, network, pooling, head = map(model.get_layer, (PREPROCESSING, BACKBONE, POOLING, HEAD))
    arithmetic = frozen_arithmetic(precision)
    if backbone.constructor == "scratch_cnn":
        lower = keras.Model(network.inputs[0], network.inputs[0])
        trainable = keras.Sequential([network, pooling, head], name="trainable")
        frozen = FrozenPart(preprocessing, lower, arithmetic)
        return Parts(frozen, trainable, network, trainable_arithmetic(precision, network))
    above = network.layers[first_trainable(network, backbone.unfreeze, backbone.blocks) :]
    network.trainable = False
    intermediate = FrozenPart(preprocessing, split_below(network, above)[0], arithmetic)
    # A model of its own: the head is saved, and a compiled model is saved with what it was compiled with.
    trainable = keras.Model(head.inputs[0], head.outputs[0], name="trainable")
    frozen = FrozenPart(preprocessing, network, arithmetic, pooled=True)
    return Parts(frozen, trainable, None, Arithmetic("float32"), intermediate)


def parts_for_finetuning(
    model: keras.Model,
    first_layer: int,
    *,
    freeze_batch_norm: bool,
    precision: str,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
) -> Parts:
    """Divide a classifier for phase 2: all up to the highest cut below the first trainable layer is frozen.

    Args:
        model: of `pipeline.models.classifier.build_classifier`; which layers are trainable is changed in place.
        first_layer: index of the backbone's first trainable layer (`pipeline.models.freezing.first_trainable`).
        freeze_batch_norm: leave BatchNormalization as it was pretrained.
        precision: `hardware.precision`.
        dropout: before the classifier, 0 to 1; None: as in phase 1.
        stochastic_depth: drop rate of the topmost residual branch, 0 to 1; None: the backbone's own.
    """
    preprocessing, network, pooling, head = map(model.get_layer, (PREPROCESSING, BACKBONE, POOLING, HEAD))
    learning = unfreeze(network, first_layer, freeze_batch_norm=freeze_batch_norm)
    lower, upper = split_below(network, learning)
    # Before BatchNormalization is absorbed, which hides the classes of the convolutions.
    arithmetic = trainable_arithmetic(precision, upper)
    drop_rates = None if stochastic_depth is None else branch_rates(network, stochastic_depth)
    upper = absorb_frozen_batch_norm(upper, drop_rates)
    frozen = FrozenPart(preprocessing, lower, frozen_arithmetic(precision))
    # Another dropout is not saved with the head.
    top = [head] if dropout is None else [layers.Dropout(dropout), *head.layers[1:]]
    trainable = keras.Sequential([upper, pooling, *top], name="trainable")
    return Parts(frozen, trainable, upper, arithmetic)


def _cut_digests(backbone: keras.Model) -> Iterator[tuple[keras.KerasTensor, str]]:
    """Yield each cut of a backbone from bottom to top, the input first, with the sha256 of all that leads to it."""
    digest = hashlib.sha256()
    for operation, tensor in cut_points(backbone):
        digest.update(f"{type(operation).__name__} {tuple(operation.output.shape[1:])}\n".encode())
        for weight in getattr(operation, "weights", ()):
            digest.update(keras.ops.convert_to_numpy(weight).tobytes())
        if tensor is not None:
            yield tensor, digest.hexdigest()


class FrozenBelow(keras.Model):
    """A network in training whose frozen part computes each batch again, from pixels."""

    def __init__(self, frozen: FrozenPart, trainable: keras.Model):
        super().__init__()
        self.frozen = frozen.from_pixels
        self.trainable_part = trainable
        # Its parts are built; Keras would call it to find out.
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:  # noqa: FBT001 (Keras's signature)
        """Compute uint8 [b, size, size, 3] to class probabilities."""
        return self.trainable_part(self.frozen(inputs), training=training)


class AtTwoSizes(keras.Model):
    """A network that is trained at one size of images and validated at another: two that share their weights."""

    def __init__(self, learning: keras.Model, validated: keras.Model):
        super().__init__()
        self.learning, self.validated = learning, validated
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:  # noqa: FBT001 (Keras's signature)
        """Compute a batch to class probabilities, by the network of the mode."""
        return (self.learning if training else self.validated)(inputs, training=training)
