"""Division of a classifier into a frozen part, optimised for inference, and a trainable part."""

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
from pipeline.models.feature_scale import FeatureScale
from pipeline.models.folding import folded
from pipeline.models.freezing import all_layers, first_trainable, unfreeze
from pipeline.models.fused_training import absorb_frozen_batch_norm, branch_rates
from pipeline.models.graph import cut_points, split_below
from pipeline.models.precision import Arithmetic, frozen_arithmetic, trainable_arithmetic

Infer = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, eq=False)
class FrozenPart:
    """Frozen part of a classifier: preprocessing, the backbone below a cut, and optionally pooling."""

    preprocessing: keras.Model
    lower: keras.Model
    """Backbone below the cut."""
    arithmetic: str
    """Dtype that the backbone computes in: float32, bfloat16 or float16."""
    pooled: bool = field(default=False, kw_only=True)
    """Whether the output is averaged over the positions of the feature maps."""

    @property
    def empty(self) -> bool:
        """Return whether there are no weights below the cut, so that caching the output would save no time."""
        return not self.lower.weights

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the output for one image."""
        shape = self.lower.output.shape
        return (shape[-1],) if self.pooled else tuple(shape[1:])

    @property
    def dtype(self) -> str:
        """Return the NumPy name of the output's dtype, in which it can be cached without loss of precision."""
        return "float32" if self.pooled or self.empty else self.arithmetic

    @cached_property
    def from_pixels(self) -> Infer:
        """Return a compiled function from pixels, uint8 [b, h, w, 3], to the output, [b, *shape].

        It computes in inference mode. First access this property outside of TensorFlow graphs.
        """
        return self._compile(self.preprocessing.inputs[0], self.preprocessing.outputs[0], self.lower.inputs[0])

    def continue_from(self, other: "FrozenPart") -> Infer:
        """Return a compiled function from the output of a lower part to the output of this part."""
        start = other.lower.outputs[0]
        inputs = layers.Input(start.shape[1:], dtype=other.dtype)
        return self._compile(inputs, inputs, start)

    @cached_property
    def digest(self) -> str:
        """Return a text that identifies the computation: a sha256 of operations and weights, and the arithmetic."""
        *_, (_, digest) = _cut_digests(self.lower)
        return self._name(digest, pooled=self.pooled)

    def lower_parts(self) -> Iterator[tuple[str, Callable[[], "FrozenPart"]]]:
        """Yield the part below each lower cut, from top to bottom, as its digest and a function that creates it."""
        cuts = list(_cut_digests(self.lower))
        for tensor, digest in reversed(cuts if self.pooled else cuts[:-1]):
            yield self._name(digest), partial(self._up_to, tensor)

    def _up_to(self, cut: keras.KerasTensor) -> "FrozenPart":
        return FrozenPart(self.preprocessing, keras.Model(self.lower.inputs[0], cut), self.arithmetic)

    def _compile(self, inputs: keras.KerasTensor, x: keras.KerasTensor, start: keras.KerasTensor) -> Infer:
        """Compile a function from `inputs` to the output of this part.

        Args:
            inputs: Input of the function.
            x: Tensor, computed from `inputs`, that replaces `start`.
            start: Cut of the backbone from which the remaining layers are computed.
        """
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
    """Frozen and trainable part of a classifier in one phase."""

    frozen: FrozenPart
    """Frozen part, which copies the classifier's weights on first use."""
    trainable: keras.Model
    """Model from the output of `frozen` to class probabilities, which shares its layers with the classifier."""
    upper: keras.Model | None
    """Part of the backbone in `trainable`, or None if the whole backbone is frozen."""
    arithmetic: Arithmetic
    """Precision of the computation in `upper`."""
    intermediate: FrozenPart | None = None
    """Lower frozen part whose features are cached too, since the next phase starts from them by default."""

    @property
    def precision(self) -> str:
        """Return a description of the precision of each part."""
        lower = f"frozen {self.frozen.arithmetic}" if not self.frozen.empty else ""
        upper = f"trainable {self.arithmetic}" if self.upper and self.upper.trainable_weights else ""
        return ", ".join(filter(None, (lower, upper, "head float32")))

    @cached_property
    def feature_maps(self) -> Infer:
        """Return a function from pixels, uint8 [b, h, w, 3], to the last feature maps, in inference mode."""
        upper = self.upper
        if upper is None:
            return replace(self.frozen, pooled=False).from_pixels
        lower = self.frozen.from_pixels
        return lambda batch: upper(lower(batch), training=False)

    @contextmanager
    def in_their_arithmetic(self) -> Iterator[None]:
        """Let the layers of `upper` compute in `arithmetic` inside a `with` block; pooling and head use float32."""
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
    """Divide a classifier for feature extraction, in which only the head is trainable.

    If the backbone is never pretrained, it is trainable too.

    Args:
        model: Classifier from `pipeline.models.classifier.build_classifier`.
        backbone: Settings of the backbone.
        precision: Setting `hardware.precision`.
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
    # Compiling a separate model keeps the compile settings out of the saved head.
    separate = keras.Model(head.inputs[0], head.outputs[0])
    trainable = keras.Sequential([layers.Input(head.input_shape[1:]), FeatureScale(), separate], name="trainable")
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
    """Divide a classifier for fine-tuning, at the highest cut below the first trainable layer.

    Args:
        model: Classifier from `pipeline.models.classifier.build_classifier`, whose layers are frozen or unfrozen in
            place.
        first_layer: Index of the backbone's first trainable layer (`pipeline.models.freezing.first_trainable`).
        freeze_batch_norm: Whether to keep BatchNormalization as pretrained.
        precision: Setting `hardware.precision`.
        dropout: Dropout rate of the head, 0 to 1; None keeps that of feature extraction.
        stochastic_depth: Drop probability of the topmost residual branch, 0 to 1; None keeps that of the backbone.
    """
    preprocessing, network, pooling, head = map(model.get_layer, (PREPROCESSING, BACKBONE, POOLING, HEAD))
    learning = unfreeze(network, first_layer, freeze_batch_norm=freeze_batch_norm)
    lower, upper = split_below(network, learning)
    # This checks the types of layers, which are hidden once convolutions are fused with BatchNormalization.
    arithmetic = trainable_arithmetic(precision, upper)
    drop_rates = None if stochastic_depth is None else branch_rates(network, stochastic_depth)
    upper = absorb_frozen_batch_norm(upper, drop_rates)
    frozen = FrozenPart(preprocessing, lower, frozen_arithmetic(precision))
    # A new Dropout layer is not part of the head, which is saved with its own dropout.
    top = [head] if dropout is None else [layers.Dropout(dropout), *head.layers[1:]]
    trainable = keras.Sequential([upper, pooling, *top], name="trainable")
    return Parts(frozen, trainable, upper, arithmetic)


def _cut_digests(backbone: keras.Model) -> Iterator[tuple[keras.KerasTensor, str]]:
    """Yield each cut of a backbone, from the input to the top, with a sha256 of all operations and weights below it."""
    digest = hashlib.sha256()
    for operation, tensor in cut_points(backbone):
        # A split has several outputs.
        shapes = " ".join(str(tuple(each.shape[1:])) for each in keras.tree.flatten(operation.output))
        digest.update(f"{type(operation).__name__} {shapes} {_options(operation)}\n".encode())
        for weight in getattr(operation, "weights", ()):
            digest.update(keras.ops.convert_to_numpy(weight).tobytes())
        if tensor is not None:
            yield tensor, digest.hexdigest()


def _options(operation: keras.Operation) -> str:
    """Return what an operation computes with besides its weights, which a preset's configuration may change alone."""
    activation = getattr(getattr(operation, "activation", None), "__name__", None)
    return f"{activation} {getattr(operation, 'epsilon', None)} {getattr(operation, 'approximate', None)}"


class FrozenBelow(keras.Model):
    """Network for training without cached features, whose frozen part is computed from pixels for each batch."""

    def __init__(self, frozen: FrozenPart, trainable: keras.Model):
        super().__init__()
        self.frozen = frozen.from_pixels
        self.trainable_part = trainable
        # Both parts are built; otherwise Keras would call the model to build it.
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:  # noqa: FBT001 (Keras's signature)
        """Compute class probabilities from pixels, uint8 [b, h, w, 3]."""
        return self.trainable_part(self.frozen(inputs), training=training)


class AtTwoSizes(keras.Model):
    """Network for training at one image size and validation at another, made of two models with shared weights."""

    def __init__(self, learning: keras.Model, validated: keras.Model):
        super().__init__()
        self.learning, self.validated = learning, validated
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:  # noqa: FBT001 (Keras's signature)
        """Compute class probabilities of a batch with the model for training or the model for validation."""
        return (self.learning if training else self.validated)(inputs, training=training)
