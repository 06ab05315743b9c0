"""Graph of a functional Keras model: the tensors at which it can be split, and its number of multiply-adds."""

import math
from collections import Counter
from collections.abc import Collection
from typing import Any

import keras


def graph_nodes(model: keras.Model) -> list[Any]:
    """Return the nodes of a functional model in topological order, one for each call of an operation.

    Calls of the same layers in other models are not included.
    """
    # Keras has no public interface for these nodes.
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def split_below(backbone: keras.Model, trainable: Collection[keras.layers.Layer]) -> tuple[keras.Model, keras.Model]:
    """Divide a backbone at the highest cut below all layers in `trainable`.

    Args:
        backbone: Functional model with one input and one output.
        trainable: Layers of the backbone that will be trained.

    Returns:
        (lower, upper): Two models that share the backbone's weights, such that `upper(lower(x))` equals `backbone(x)`.
        Either may be the identity.
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
    """Return each operation in topological order, with its output if that is a cut, otherwise None.

    A cut is a tensor that carries everything that later layers need from earlier ones.
    """
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
    """Count the multiply-adds of layers with kernels, and of attention, in the forward pass of one image.

    Args:
        model: Functional model with a fixed input size.
    """
    total = 0
    for node in graph_nodes(model):
        weights = getattr(node.operation, "weights", ())
        kernels = [each.shape for each in weights if each.name.endswith("kernel") and len(each.shape) > 1]
        # Each weight of a convolution is used once at each position of its output.
        places = math.prod(node.outputs[0].shape[1:-1])
        total += places * sum(math.prod(shape) for shape in kernels)
        if type(node.operation).__name__ == "DotProductAttention":
            # Each token's query and those of all keys, and the sum of all values for each token.
            _, tokens, heads, size = node.outputs[0].shape
            total += 2 * tokens**2 * heads * size
    return total
