"""Training in both phases: inputs and labels, features, the fit loop, optimizers, checkpoints, and what is written."""

Row = dict[str, float]
"""An epoch: `epoch` (counted over both phases, from 1), `learning_rate`, and loss and accuracy.

These are `loss`, `accuracy`, `val_loss` and `val_accuracy`.
"""


def seven_digits(value: float) -> float:
    """Round to the seven digits that float32 holds."""
    return float(f"{float(value):.7g}")
