"""The table of costs that models are compared in."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """A cost of a model, as its run in MLflow has it."""

    metric: str
    """MLflow's name of it."""
    label: str
    unit: str
    """Empty for counts."""
    format: Callable[[float], str]
    """From a value to its digits, without the unit."""

    def text(self, value: float | None) -> str:
        """A value in its unit; a question mark where it is unknown."""
        return "?" if value is None else f"{self.format(value)} {self.unit}".rstrip()


COSTS = {
    "size": Cost("model/size_mib", "model size", "MiB", "{:.1f}".format),
    "trainable": Cost(
        "model/trainable_parameters",
        "trainable parameters",
        "",
        lambda value: f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,.0f}",
    ),
    "latency": Cost("model/prediction_milliseconds", "prediction time", "ms", "{:.1f}".format),
    "training": Cost("model/training_seconds", "training time", "s", "{:.0f}".format),
}
"""All costs, in the order in which tables show them; `register.cost` takes the same names."""
