"""What the same test images say of all models: figures, intervals, tests, groups."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.comparison.experiments import Experiment
from pipeline.comparison.rows import Row
from pipeline.evaluation.bootstrap import Bootstrap
from pipeline.evaluation.intervals import Estimate, interval, macro_f1, widened, wilson
from pipeline.evaluation.per_image import auc_influence, brier_scores, in_top, losses, recall_shares
from pipeline.evaluation.significance import corrected, groups, mcnemar, resampled_p
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError

METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "auc", "loss", "brier", "top_k")
LESS_IS_BETTER = ("loss", "brier")
PREDICTIONS, CLASSES = "evaluate/predictions.parquet", "prepare/classes.json"
# So that the same comparison twice says the same.
_SEED, _RESAMPLES = 0, 2000


@dataclass(frozen=True)
class RankedRow:
    """A row with its figure."""

    row: Row
    estimate: Estimate
    """Mean over seeds, with an interval for the choice of test images."""
    by_seed: list[float]

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for a single one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Ranking:
    """All rows, best first."""

    metric: str
    confidence: float
    judged: list[RankedRow]
    p: np.ndarray
    """Of each pair, corrected for their number (Holm), float [k, k]."""
    groups: list[list[int]]
    """Places of rows that the data can't tell apart, the group of the best first."""
    images: int
    """In the test set."""

    @property
    def top(self) -> list[int]:
        """Places of the rows that can't be told apart from the best."""
        return [place for place in range(len(self.judged)) if self.p[0, place] >= 1 - self.confidence]


def rank(rows: list[Row], metric: str, top_k: int, confidence: float) -> Ranking:
    """Compare rows by one figure on the images that all of them were tested on.

    Two single runs are compared in accuracy by McNemar's exact test, all else by the paired bootstrap over the test images; a row of several
    seeds stands there for the mean of these very models.

    Args:
        rows: whose experiments share their test images.
        metric: of `METRICS`.
        top_k: how many guesses count for it.
        confidence: of the intervals; 1 less this is the level of the tests.

    Raises:
        PipelineError: the metric means nothing on these images.
    """
    runs = [run for row in rows for run in row.experiments]
    seen = [_answers(run, metric, top_k) for run in runs]
    classes = sorted({name for each in seen for name in each.classes})
    labels = pd.Categorical(seen[0].labels, categories=classes).codes.astype(np.int64)
    figures, replicates = _resampled(seen, labels, classes, metric)
    if np.isnan(figures).any():
        raise PipelineError(f"--metric {metric} means nothing on a test set of one class")
    of_row = np.split(np.arange(len(runs)), np.cumsum([len(row.experiments) for row in rows])[:-1])
    means = np.array([figures[places].mean() for places in of_row])
    resamples = np.stack([replicates[:, places].mean(axis=1) for places in of_row], axis=1)
    order = np.argsort(means if metric in LESS_IS_BETTER else -means, kind="stable")
    hits = [seen[places[0]].hits for places in of_row]
    p = corrected(_pairs(rows, resamples, means, hits, metric)[np.ix_(order, order)])
    judged = [
        RankedRow(
            rows[place],
            _estimate(metric, figures[of_row[place]], resamples[:, place], labels, hits[place], confidence),
            figures[of_row[place]].tolist(),
        )
        for place in order
    ]
    return Ranking(metric, confidence, judged, p, groups(range(len(rows)), p, 1 - confidence), len(labels))


@dataclass(frozen=True)
class _Answers:
    """What a run says of the test images, in an order of the images' own content."""

    labels: pd.Series
    classes: list[str]
    predicted: pd.Series
    """Names."""
    hits: np.ndarray
    """bool [n]; of top-k, whether the label is among the guesses."""
    shares: np.ndarray | None
    """Of each image in the figure, float64 [n]; None where it is no mean."""


def _answers(run: Experiment, metric: str, top_k: int) -> _Answers:
    files = [run.file(path) for path in (PREDICTIONS, CLASSES)]
    if None in files:
        raise PipelineError(
            f"{run.name} ({run.run_id}) has no {PREDICTIONS} or {CLASSES} in MLflow; run its experiment again"
        )
    table = pd.read_parquet(files[0], columns=["label", "sha256", "probabilities"])
    table = table.sort_values(["sha256", "label"], kind="stable", ignore_index=True)
    probabilities, classes = np.stack(table["probabilities"]), read_json(files[1])
    labels = pd.Categorical(table["label"], categories=classes).codes.astype(np.int64)
    guessed = probabilities.argmax(axis=1)
    hits = in_top(labels, probabilities, top_k) if metric == "top_k" else guessed == labels
    shares = {
        "accuracy": lambda: hits.astype(np.float64),
        "top_k": lambda: hits.astype(np.float64),
        "balanced_accuracy": lambda: recall_shares(labels, hits),
        "auc": lambda: auc_influence(labels, probabilities),
        "loss": lambda: losses(labels, probabilities),
        "brier": lambda: brier_scores(labels, probabilities),
    }.get(metric, lambda: None)()
    return _Answers(table["label"], classes, pd.Series(np.asarray(classes)[guessed]), hits, shares)


def _resampled(
    seen: list[_Answers], labels: np.ndarray, classes: list[str], metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Each run's figure, float [runs], and the same in each resample, float [resamples, runs]: all in the same resamples."""
    bootstrap = Bootstrap(labels, _RESAMPLES, _SEED)
    if metric != "macro_f1":
        shares = np.stack([each.shares for each in seen], axis=1)
        return shares.mean(axis=0), bootstrap.means(shares)
    predicted = [pd.Categorical(each.predicted, categories=classes).codes.astype(np.int64) for each in seen]
    figures = np.array([macro_f1(labels, each) for each in predicted])
    return figures, bootstrap.macro_f1(np.stack(predicted, axis=1), len(classes))


def _pairs(
    rows: list[Row], replicates: np.ndarray, means: np.ndarray, hits: list[np.ndarray], metric: str
) -> np.ndarray:
    """p of each pair, uncorrected: float [k, k]."""
    p = resampled_p(replicates, means)
    if metric not in ("accuracy", "top_k"):
        return p
    right = np.stack(hits).astype(np.float64)
    gained = np.rint((1 - right) @ right.T).astype(int)
    single = [place for place, row in enumerate(rows) if len(row.experiments) == 1]
    for index, a in enumerate(single):
        for b in single[:index]:
            p[a, b] = p[b, a] = mcnemar(gained[a, b], gained[b, a])
    return p


def _estimate(
    metric: str, values: np.ndarray, replicates: np.ndarray, labels: np.ndarray, hits: np.ndarray, confidence: float
) -> Estimate:
    if metric in ("accuracy", "top_k") and len(values) == 1:
        low, high = wilson(hits.sum(), len(hits), confidence)
        return Estimate(float(values[0]), float(low), float(high))
    return widened(metric, interval(metric, float(np.mean(values)), replicates, labels, confidence), labels, confidence)
