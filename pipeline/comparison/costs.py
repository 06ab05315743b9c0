"""Costs by which models are compared."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """A cost of a model, recorded as a metric in MLflow."""

    metric: str
    """Name of the metric in MLflow."""
    label: str
    unit: str
    """Unit of the cost; empty for counts."""
    format: Callable[[float], str]
    """Function that formats a value, without its unit."""

    def text(self, value: float | None) -> str:
        """Format a value with its unit; None gives a question mark."""
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
"""All costs by name, in the order in which tables show them; `register.cost` is one of these names."""
