"""Ranking of probed backbones, with paired tests, and the recommended one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.intervals import proportion_estimate
from pipeline.evaluation.metrics import Estimate
from pipeline.evaluation.significance import groups, holm_corrected, letters, mcnemar_pairs
from pipeline.probing.measurement import Measurement


@dataclass(frozen=True)
class Row:
    """Measurement of a backbone, with its place among the others."""

    measurement: Measurement
    accuracy: Estimate
    letters: str
    """Letters of its groups; backbones that share one do not differ significantly."""
    p: float
    """Holm-corrected p-value of McNemar's exact test against the best backbone; 1 for the best itself."""


@dataclass(frozen=True)
class Ranking:
    """Backbones by out-of-fold accuracy on the same images."""

    rows: list[Row]
    """Rows, best first."""
    chosen: int
    """Index of the recommended row."""
    images: int
    """Number of training and validation images."""
    confidence: float

    @property
    def reason(self) -> str:
        """Why the row is recommended."""
        level, alike = 1 - self.confidence, sum(row.p >= 1 - self.confidence for row in self.rows)
        if len(self.rows) == 1:
            return "It is the only one."
        if alike == 1:
            return f"It is significantly better than every other one (corrected p below {level:.2g})."
        return f"Of the {alike} that do not differ significantly from the best (level {level:.2g}), it needs the fewest multiply-adds."

    def as_frame(self) -> pd.DataFrame:
        """Return the ranking as a table, best row first."""
        return pd.DataFrame(
            {
                "backbone": row.measurement.backbone,
                "image_size": row.measurement.config.image_size,
                **row.accuracy.named("accuracy"),
                "groups": row.letters,
                "p_against_best": row.p,
                "neighbour_accuracy": row.measurement.neighbour_accuracy,
                "milliseconds": row.measurement.milliseconds,
                "weights_mib": row.measurement.weights_mib,
                "multiply_adds": row.measurement.macs,
                "features": row.measurement.features,
                "recommended": index == self.chosen,
            }
            for index, row in enumerate(self.rows)
        )


def rank(measurements: Sequence[Measurement], confidence: float) -> Ranking:
    """Rank backbones by out-of-fold accuracy, and recommend the cheapest of those that do not differ from the best.

    Cheapest is the one with the fewest multiply-adds: unlike times, they are the same on every machine.

    Args:
        measurements: Measurements on the same images and folds.
        confidence: Confidence level of the intervals; the significance level of the tests is 1 - confidence.
    """
    ordered = sorted(measurements, key=lambda each: (-each.hits.mean(), each.macs))
    p = holm_corrected(mcnemar_pairs(np.stack([each.hits for each in ordered])))
    found = groups(range(len(ordered)), p, 1 - confidence)
    rows = [
        Row(each, proportion_estimate(each.hits, confidence), letters(found, index), float(p[0, index]))
        for index, each in enumerate(ordered)
    ]
    alike = [index for index, row in enumerate(rows) if row.p >= 1 - confidence]
    chosen = min(alike, key=lambda index: rows[index].measurement.macs)
    return Ranking(rows, chosen, len(ordered[0].hits), confidence)
