"""Differences between the splits in class proportions and in the appearance of their images."""

from collections.abc import Sequence

import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from pipeline.config import DriftConfig
from pipeline.inputs.manifest import APPEARANCE, appearance


def drift(manifest: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure how much the validation split and the test split each differ from the training split.

    Args:
        manifest: Label, split, width, height and statistics of each image.
        classes: All class names.

    Returns:
        For each split, `total_variation` of the class proportions (half the sum of their differences, 0 to 1) and
        `class_p_value` (chi-square test of homogeneity). For each measure in `APPEARANCE`, the Kolmogorov-Smirnov
        distance (0 to 1) and `<name>_p_value` (two-sample test).
    """
    counts = class_counts(manifest, classes)
    values = appearance(manifest)
    training = values[manifest["split"] == "train"]
    differences = {}
    for split in ("validation", "test"):
        table = counts[["train", split]]
        proportions = table / table.sum()
        occurring = table[table.sum(axis=1) > 0]
        measured = {
            "total_variation": float((proportions["train"] - proportions[split]).abs().sum() / 2),
            "class_p_value": float(chi2_contingency(occurring.to_numpy()).pvalue),
        }
        for name in APPEARANCE:
            # The exact distribution is slow to compute, and not more accurate for this many images.
            test = ks_2samp(training[name], values.loc[manifest["split"] == split, name], method="asymp")
            measured |= {name: float(test.statistic), f"{name}_p_value": float(test.pvalue)}
        differences[split] = measured
    return differences


def class_counts(manifest: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Count the images of each class (rows) in each split (columns train, validation, test)."""
    counts = pd.crosstab(manifest["label"].astype(str), manifest["split"])
    return counts.reindex(index=list(classes), columns=["train", "validation", "test"], fill_value=0)


def drift_warnings(differences: dict[str, dict[str, float]], limits: DriftConfig) -> list[str]:
    """Return a warning for each large and statistically significant difference between splits.

    Args:
        differences: Result of `drift`.
        limits: Limits above which a difference is large, and the significance level.
    """
    # Bonferroni correction: the significance level is divided by the number of tests.
    p_value = limits.p_value / (len(differences) * (1 + len(APPEARANCE)))
    warnings = []
    for split, measured in differences.items():
        if measured["total_variation"] > limits.class_mix and measured["class_p_value"] < p_value:
            warnings.append(
                f"The {split} split's class proportions differ from those of the training split: total variation "
                f"distance {measured['total_variation']:.2f}. Accuracy can change by that much for this reason alone; "
                "compare prior_adjusted_accuracy instead"
            )
        for name in APPEARANCE:
            if measured[name] > limits.appearance and measured[f"{name}_p_value"] < p_value:
                warnings.append(
                    f"The {split} split's images differ from the training images in {name.replace('_', ' ')}: "
                    f"Kolmogorov-Smirnov distance {measured[name]:.2f}"
                )
    return warnings


def imbalance(counts: pd.Series) -> float:
    """Return the number of images in the largest class divided by that in the smallest; 1 means balanced."""
    return float(counts.max() / max(1, counts.min()))
