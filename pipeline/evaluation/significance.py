"""Paired tests of two or more models on the same test images, and the groups that they leave together."""

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
    """Accuracy of a second model minus that of a first, on the same images."""

    value: float
    low: float
    high: float
    p: float
    """Of McNemar's exact test."""
    gained: int
    """Images that only the second gets right."""
    lost: int
    """Images that only the first gets right."""

    def named(self) -> dict[str, float]:
        """As in metrics.json."""
        interval = Estimate(self.value, self.low, self.high).named("accuracy_difference")
        return interval | {"mcnemar_p": self.p, "gained": self.gained, "lost": self.lost}


def compare_hits(first: np.ndarray, second: np.ndarray, confidence: float) -> Difference:
    """Compare two models' hits, bool [n], image by image.

    The interval is that of a difference of paired proportions, which does not collapse where the two agree on every
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
    """Two-sided p of McNemar's exact test: where two models differ, each of them is as likely to be right."""
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def _correlation(both: int, lost: int, gained: int, neither: int) -> float:
    """Correlation of two models' hits as in Newcombe's method 10, with a continuity correction where it is positive."""
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if not margins:
        return 0.0
    cross: float = both * neither - lost * gained
    if cross > 0:
        cross = max(cross - (both + lost + gained + neither) / 2, 0)
    return float(cross / np.sqrt(margins))


def resampled_p(replicates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Two-sided p of each pair's difference, from paired resamples: normal, with the bootstrap's standard error.

    Args:
        replicates: the metric of each of k models in the same resamples, float [resamples, k].
        values: the metric of each, float [k].

    Returns:
        Float [k, k], symmetric; 1 on the diagonal, and where two models are equal in every resample.
    """
    # The variance of a difference by covariances needs no array of all pairs in all resamples.
    covariance = np.atleast_2d(np.cov(replicates, rowvar=False))
    variances = np.diag(covariance)
    errors = np.sqrt(np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0))
    gaps = np.abs(values[:, None] - values[None, :])
    no_error = errors <= 1e-12 * max(1.0, float(np.abs(values).max()))
    return np.where(no_error, np.where(gaps > 1e-12, 0.0, 1.0), 2 * norm.sf(gaps / np.where(no_error, 1, errors)))


def holm_corrected(p: np.ndarray) -> np.ndarray:
    """P of all pairs, symmetric [k, k], corrected for their number (S. Holm, 1979)."""
    adjusted = np.ones_like(p)
    upper = np.triu_indices(len(p), 1)
    if len(upper[0]):
        adjusted[upper] = multipletests(p[upper], method="holm")[1]
        adjusted.T[upper] = adjusted[upper]
    return adjusted


def groups(order: Sequence[int], p: np.ndarray, alpha: float) -> list[list[int]]:
    """Groups of models that do not differ significantly: every pair within one has a corrected p of at least `alpha`.

    Args:
        order: the models' indices in `p`, best first.
        p: corrected, symmetric [k, k].
        alpha: significance level.

    Returns:
        The indices of each group, best first; no group lies inside another, and a model may be in several. The group
        with the best model comes first.
    """
    rank = {model: place for place, model in enumerate(order)}
    alike = nx.Graph()
    alike.add_nodes_from(order)
    alike.add_edges_from((a, b) for a in order for b in order if rank[a] < rank[b] and p[a, b] >= alpha)
    cliques = [sorted(clique, key=rank.__getitem__) for clique in nx.find_cliques(alike)]
    return sorted(cliques, key=lambda group: [rank[model] for model in group])
