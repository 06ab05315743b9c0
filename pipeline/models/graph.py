"""A functional network as a graph: where it can be cut in two, and what it costs to compute."""

import math
from collections import Counter
from collections.abc import Collection
from typing import Any

import keras


def graph_nodes(model: keras.Model) -> list[Any]:
    """Return the nodes of a functional model in topological order: one for each call of an operation.

    A layer that was called elsewhere as well has other nodes, which are not of this graph.
    """
    # Keras has no public way to them.
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def split_below(backbone: keras.Model, trainable: Collection[keras.layers.Layer]) -> tuple[keras.Model, keras.Model]:
    """Divide a backbone at its highest cut that has all of `trainable` above it.

    Args:
        backbone: a functional model with one input and one output.
        trainable: its layers that will learn.

    Returns:
        (lower, upper), which share its weights: `upper(lower(x))` equals `backbone(x)`. Either may be the identity.
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
        inputs = keras.layers.Input(cut.shape[1:])
        return lower, keras.Model(inputs, keras.layers.Identity()(inputs), name="upper")
    return lower, keras.Model(cut, backbone.outputs[0], name="upper")


def cut_points(backbone: keras.Model) -> list[tuple[keras.Operation, keras.KerasTensor | None]]:
    """Return each operation in topological order, with its output where that is a cut, else None."""
    nodes = graph_nodes(backbone)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in backbone.outputs)
    pending: set[int] = set()
    points = []
    for node in nodes:
        for tensor in node.input_tensors:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                pending.discard(id(tensor))
        pending.update(id(tensor) for tensor in node.output_tensors if uses[id(tensor)])
        tensor = node.outputs[0]
        points.append((node.operation, tensor if pending == {id(tensor)} else None))
    return points


def count_macs(model: keras.Model) -> int:
    """Count the multiply-adds with weights for one image, forward.

    Args:
        model: a functional model of one input size; layers without kernels count as nothing.
    """
    total = 0
    for node in graph_nodes(model):
        weights = getattr(node.operation, "weights", ())
        kernels = [each.shape for each in weights if each.name.endswith("kernel") and len(each.shape) > 1]
        # Each weight of a convolution is used once at each place of its output.
        places = math.prod(node.outputs[0].shape[1:-1])
        total += places * sum(math.prod(shape) for shape in kernels)
    return total
