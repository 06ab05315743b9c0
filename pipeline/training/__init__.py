"""Training in both phases: features and labels, training loop, optimizers, checkpoints and output files."""

Row = dict[str, float]
"""Metrics of an epoch, by name.

They are `epoch` (counted over both phases, from 1), `learning_rate`, `loss`, `accuracy`, `val_loss` and `val_accuracy`.
"""


def seven_digits(value: float) -> float:
    """Round a number to seven significant digits, the precision of float32."""
    return float(f"{float(value):.7g}")
