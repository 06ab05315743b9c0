"""A functional network as a graph: where it can be cut in two, and what it costs to compute."""

import math
from collections import Counter
from collections.abc import Collection
from typing import Any

import keras


def split_below(backbone: keras.Model, trainable: Collection[keras.layers.Layer]) -> tuple[keras.Model, keras.Model]:
    """The backbone as two models that share its weights, cut as high as possible with all of `trainable` in the upper one.

    Args:
        backbone: a functional model with one input and one output.
        trainable: its layers that will learn.

    Returns:
        (lower, upper): `upper(lower(x))` equals `backbone(x)`. The lower one may be empty (the input itself), the upper one too.
    """
    learning = {id(layer) for layer in trainable}
    cut = backbone.inputs[0]
    for operation, tensor in cut_points(backbone):
        if id(operation) in learning:
            break
        if tensor is not None:
            cut = tensor
    lower = keras.Model(backbone.inputs[0], cut, name="lower")
    if cut is backbone.outputs[0]:
        nothing = keras.layers.Input(cut.shape[1:])
        return lower, keras.Model(nothing, keras.layers.Identity()(nothing), name="upper")
    return lower, keras.Model(cut, backbone.outputs[0], name="upper")


def cut_points(backbone: keras.Model) -> list[tuple[Any, Any]]:
    """Each operation in topological order, with its output where that is the only tensor that the rest needs, else None."""
    # The nodes of this very graph: a layer that was called elsewhere as well has more of its own.
    nodes = [
        node for depth in sorted(backbone._nodes_by_depth, reverse=True) for node in backbone._nodes_by_depth[depth]
    ]
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in backbone.outputs)
    waiting: set[int] = set()
    places = []
    for node in nodes:
        for tensor in node.input_tensors:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                waiting.discard(id(tensor))
        waiting.update(id(tensor) for tensor in node.output_tensors if uses[id(tensor)])
        tensor = node.outputs[0]
        places.append((node.operation, tensor if waiting == {id(tensor)} else None))
    return places


def count_macs(model: keras.Model) -> int:
    """Multiplications of weights for one image, forward.

    Args:
        model: a functional model of one input size; layers without kernels count as nothing.
    """
    total = 0
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            kernels = [
                weight.shape
                for weight in getattr(node.operation, "weights", ())
                if weight.name.endswith("kernel") and len(weight.shape) > 1
            ]
            # Each weight of a convolution is used once at each place of its output.
            places = math.prod(node.outputs[0].shape[1:-1])
            total += places * sum(math.prod(shape) for shape in kernels)
    return total
