"""How the splits differ: their mix of classes, and what their images look like."""

from collections.abc import Sequence

import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from pipeline.config import DriftConfig
from pipeline.inputs.manifest import APPEARANCE, appearance


def drift(manifest: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """How much each other split differs from training.

    Args:
        manifest: label, split, width, height and the statistics of each image.
        classes: all labels.

    Returns:
        for validation and test: `total_variation` of the class shares (half the sum of their differences, 0 to 1), `class_p_value` (chi-square
        test of homogeneity), and for each of LOOKS its Kolmogorov-Smirnov distance (0 to 1) and `..._p_value` (two-sample test).
    """
    counts = class_counts(manifest, classes)
    values = appearance(manifest)
    training = values[manifest["split"] == "train"]
    found = {}
    for split in ("validation", "test"):
        table = counts[["train", split]]
        shares = table / table.sum()
        occurring = table[table.sum(axis=1) > 0]
        found[split] = {
            "total_variation": float((shares["train"] - shares[split]).abs().sum() / 2),
            "class_p_value": float(chi2_contingency(occurring.to_numpy()).pvalue),
        }
        for name in APPEARANCE:
            # The exact distribution is of no use at these counts, and slow.
            test = ks_2samp(training[name], values.loc[manifest["split"] == split, name], method="asymp")
            found[split] |= {name: float(test.statistic), f"{name}_p_value": float(test.pvalue)}
    return found


def class_counts(manifest: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Images of each class (rows) in each split (columns train, validation, test)."""
    counts = pd.crosstab(manifest["label"].astype(str), manifest["split"])
    return counts.reindex(index=list(classes), columns=["train", "validation", "test"], fill_value=0)


def drift_warnings(found: dict[str, dict[str, float]], limits: DriftConfig) -> list[str]:
    """A sentence on each difference that is too large to compare accuracies, and no chance."""
    # All tests together are to be wrong so seldom (C. E. Bonferroni).
    p_value = limits.p_value / (len(found) * (1 + len(APPEARANCE)))
    said = []
    for split, figures in found.items():
        if figures["total_variation"] > limits.class_mix and figures["class_p_value"] < p_value:
            said.append(
                f"The {split} split's mix of classes differs from training's: total variation distance {figures['total_variation']:.2f}, "
                "so the mix alone can move an accuracy by that much; compare prior_adjusted_accuracy instead"
            )
        for name in APPEARANCE:
            if figures[name] > limits.appearance and figures[f"{name}_p_value"] < p_value:
                said.append(
                    f"The {split} split's images differ from training's in {name.replace('_', ' ')}: Kolmogorov-Smirnov distance {figures[name]:.2f}"
                )
    return said


def imbalance(counts: pd.Series) -> float:
    """How many times the largest class's images the smallest one has in training; 1 is balanced."""
    return float(counts.max() / max(1, counts.min()))
