"""Paired significance tests of models on the same test images, and groups of models that do not differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.stats import binomtest, norm
from statsmodels.stats.multitest import multipletests

from pipeline.evaluation.intervals import wilson
from pipeline.evaluation.metrics import Estimate


@dataclass(frozen=True)
class Difference:
    """Difference in accuracy of two models on the same images: that of the second minus that of the first."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided p-value of McNemar's exact test."""
    gained: int
    """Number of images that only the second model predicts correctly."""
    lost: int
    """Number of images that only the first model predicts correctly."""

    def named(self) -> dict[str, float]:
        """Return the values by their names in metrics.json."""
        interval = Estimate(self.value, self.low, self.high).named("accuracy_difference")
        return interval | {"mcnemar_p": self.p, "gained": self.gained, "lost": self.lost}


def compare_hits(first: np.ndarray, second: np.ndarray, confidence: float) -> Difference:
    """Compare the accuracies of two models from their correct predictions, bool [n] each, on the same images.

    The interval is that of a difference of paired proportions. Its width is positive even if the models agree on every
    image.

    Source:
        Q. McNemar, Note on the Sampling Error of the Difference between Correlated Proportions or Percentages, 1947;
        R. G. Newcombe, Improved Confidence Intervals for the Difference between Binomial Proportions Based on Paired
        Data, 1998 (method 10).
    """
    count, gained, lost = len(first), int((second & ~first).sum()), int((first & ~second).sum())
    p = mcnemar(gained, lost)
    p1, p2 = first.mean(), second.mean()
    (l1, u1), (l2, u2) = wilson(first.sum(), count, confidence), wilson(second.sum(), count, confidence)
    phi = _correlation(int((first & second).sum()), lost, gained, int((~first & ~second).sum()))
    below = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    above = (u2 - p2) ** 2 - 2 * phi * (u2 - p2) * (p1 - l1) + (p1 - l1) ** 2
    value = float(p2 - p1)
    return Difference(value, value - float(np.sqrt(below)), value + float(np.sqrt(above)), p, gained, lost)


def mcnemar(gained: int, lost: int) -> float:
    """Compute the two-sided p-value of McNemar's exact test.

    Args:
        gained: Number of images that only the second model predicts correctly.
        lost: Number of images that only the first model predicts correctly.
    """
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def mcnemar_pairs(hits: np.ndarray) -> np.ndarray:
    """Compute p-values of McNemar's exact test, float [k, k], of all pairs of models from their hits, bool [k, n]."""
    right = hits.astype(np.float64)
    gained = np.rint((1 - right) @ right.T).astype(int)
    p = np.ones(gained.shape)
    for a, b in zip(*np.tril_indices(len(p), -1), strict=True):
        p[a, b] = p[b, a] = mcnemar(gained[a, b], gained[b, a])
    return p


def _correlation(both: int, lost: int, gained: int, neither: int) -> float:
    """Compute the correlation of two models' hits as in Newcombe's method 10, continuity-corrected if positive."""
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if not margins:
        return 0.0
    cross: float = both * neither - lost * gained
    if cross > 0:
        cross = max(cross - (both + lost + gained + neither) / 2, 0)
    return float(cross / np.sqrt(margins))


def resampled_p(replicates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Compute two-sided p-values for the difference of each pair of models, from paired resamples.

    Differences are assumed to be normal, with the bootstrap's standard error.

    Args:
        replicates: Metric of each of k models in the same resamples, float [resamples, k].
        values: Metric of each model on all images, float [k].

    Returns:
        p-values, float [k, k], symmetric; 1 on the diagonal, and for models that are equal in every resample.
    """
    # Variances of differences from covariances: this avoids an array of all pairs in all resamples.
    covariance = np.atleast_2d(np.cov(replicates, rowvar=False))
    variances = np.diag(covariance)
    errors = np.sqrt(np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0))
    gaps = np.abs(values[:, None] - values[None, :])
    no_error = errors <= 1e-12 * max(1.0, float(np.abs(values).max()))
    return np.where(no_error, np.where(gaps > 1e-12, 0.0, 1.0), 2 * norm.sf(gaps / np.where(no_error, 1, errors)))


def holm_corrected(p: np.ndarray) -> np.ndarray:
    """Correct the p-values of all pairs, symmetric [k, k], for multiple testing (S. Holm, 1979)."""
    adjusted = np.ones_like(p)
    upper = np.triu_indices(len(p), 1)
    if len(upper[0]):
        adjusted[upper] = multipletests(p[upper], method="holm")[1]
        adjusted.T[upper] = adjusted[upper]
    return adjusted


def groups(order: Sequence[int], p: np.ndarray, alpha: float) -> list[list[int]]:
    """Find groups of models that do not differ significantly.

    Every pair of models in a group has a corrected p-value of at least `alpha`. Groups are maximal, and a model may be
    in several.

    Args:
        order: Indices of the models in `p`, best first.
        p: Corrected p-values, symmetric [k, k].
        alpha: Significance level.

    Returns:
        Indices of the models in each group, best first. The group of the best model comes first.
    """
    rank = {model: place for place, model in enumerate(order)}
    alike = nx.Graph()
    alike.add_nodes_from(order)
    alike.add_edges_from((a, b) for a in order for b in order if rank[a] < rank[b] and p[a, b] >= alpha)
    cliques = [sorted(clique, key=rank.__getitem__) for clique in nx.find_cliques(alike)]
    return sorted(cliques, key=lambda group: [rank[model] for model in group])


def letters(grouping: Sequence[Sequence[int]], index: int) -> str:
    """Return the letters of a model's groups, whose models do not differ significantly; A is that of the best."""
    places = (place for place, group in enumerate(grouping) if index in group)
    return " ".join(f"{chr(ord('A') + place % 26)}{place // 26 or ''}" for place in places)
