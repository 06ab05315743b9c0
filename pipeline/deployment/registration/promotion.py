"""Whether a challenger takes the champion's place: a rule on numbers of the same test images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import RegisterConfig
from pipeline.evaluation.significance import Difference, compare_hits
from pipeline.system.errors import PipelineError


@dataclass(frozen=True)
class Decision:
    """What was decided, and on which numbers."""

    promoted: bool
    reason: str
    numbers: dict[str, Any]

    def named(self) -> dict[str, Any]:
        """As it is logged."""
        return {"promoted": self.promoted, "reason": self.reason, **self.numbers}


def hits_on_same_images(champion: pd.DataFrame, challenger: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Which images each gets right, bool [n], in one order.

    Args:
        champion, challenger: predictions.parquet of each: sha256, label, prediction.

    Raises:
        PipelineError: they were tested on other images, or with other labels.
    """
    tables = [
        each.sort_values(["sha256", "label"], kind="stable", ignore_index=True) for each in (champion, challenger)
    ]
    if not tables[0][["sha256", "label"]].equals(tables[1][["sha256", "label"]]):
        raise PipelineError(
            "Champion and challenger were tested on different images, so that neither is known to be better; "
            "evaluate both on the same test/ folder"
        )
    first, second = ((each["label"] == each["prediction"]).to_numpy() for each in tables)
    return first, second


def decide(difference: Difference, costs: tuple[float, float], register: RegisterConfig, confidence: float) -> Decision:
    """The rule: better by McNemar's exact test, or not worse by more than the margin and cheaper by the saving.

    Args:
        difference: the challenger's accuracy less the champion's.
        costs: the champion's and the challenger's, in what `register.cost` names.
        register: margin, cost and saving.
        confidence: of the interval; 1 less this is the level of the test.
    """
    old, new = costs
    numbers = difference.named() | {
        "cost": register.cost,
        "champion_cost": old,
        "challenger_cost": new,
        "saving": register.saving,
        "margin": register.margin,
        "confidence": confidence,
    }
    told = f"accuracy {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}), p {difference.p:.3g}; {register.cost} {new:.4g} against {old:.4g}"
    if difference.value > 0 and difference.p < 1 - confidence:
        return Decision(True, f"It is better: {told}.", numbers)
    if difference.low <= -register.margin:
        return Decision(
            False,
            f"It is not shown to be better, and may be worse by more than register.margin={register.margin:g}: {told}.",
            numbers,
        )
    if new < old and new <= old * (1 - register.saving):
        return Decision(
            True, f"It is not worse by more than register.margin={register.margin:g}, and cheaper: {told}.", numbers
        )
    return Decision(
        False, f"It is neither shown to be better nor cheaper by register.saving={register.saving:g}: {told}.", numbers
    )


def compared(champion: pd.DataFrame, challenger: pd.DataFrame, confidence: float) -> Difference:
    """The challenger's accuracy less the champion's, on the same images; see `hits_on_same_images`."""
    return compare_hits(*hits_on_same_images(champion, challenger), confidence)
