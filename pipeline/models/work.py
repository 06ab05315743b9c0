"""What a network costs, by its shapes alone: the same on every machine."""

import math

import keras


def multiplications(model: keras.Model) -> int:
    """Multiplications of weights for one picture, forward.

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
