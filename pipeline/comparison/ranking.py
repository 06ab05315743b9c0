"""Rows ranked by a metric on the same test images: estimates, paired tests, groups, and the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment, Row, find, make_rows, select
from pipeline.config import Config
from pipeline.evaluation.intervals import Bootstrap, macro_f1, proportion_estimate, resampled_estimate
from pipeline.evaluation.metrics import METRICS, Estimate, Metric
from pipeline.evaluation.significance import groups, holm_corrected, mcnemar, resampled_p
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError

PREDICTIONS, CLASSES = "evaluate/predictions.parquet", "prepare/classes.json"
# Fixed, so that the same comparison gives the same numbers.
_SEED, _RESAMPLES = 0, 2000


@dataclass(frozen=True)
class RankedRow:
    """A row with its value of the metric."""

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
    """Its name in `METRICS`."""
    confidence: float
    rows: list[RankedRow]
    p: np.ndarray
    """Of each pair, corrected for their number (Holm), float [k, k]."""
    groups: list[list[int]]
    """Indices of rows that do not differ significantly, the group of the best first."""
    images: int
    """Number of test images."""

    @property
    def label(self) -> str:
        """The metric's label."""
        return METRICS[self.metric].label.format(k="k")

    @property
    def gains(self) -> list[float]:
        """Value of each row, negated where lower is better."""
        sign = 1 if METRICS[self.metric].higher_is_better else -1
        return [sign * each.estimate.value for each in self.rows]

    @property
    def top(self) -> list[int]:
        """Indices of the rows that do not differ significantly from the best."""
        return [index for index in range(len(self.rows)) if self.p[0, index] >= 1 - self.confidence]


def rank(rows: list[Row], metric: str, top_k: int, confidence: float) -> Ranking:
    """Compare rows by one metric on the images that all of them were tested on.

    Two single runs are compared in a proportion of images by McNemar's exact test, all else by the paired bootstrap
    over the test images. A row of several seeds is the mean of these very models.

    Args:
        rows: whose experiments share their test images.
        metric: of `pipeline.evaluation.metrics.RANKING_METRICS`.
        top_k: number of guesses in top-k accuracy.
        confidence: of the intervals; 1 less this is the level of the tests.

    Raises:
        PipelineError: the metric is not defined on these images, or a run has lost its predictions.
    """
    definition = METRICS[metric]
    runs = [run for row in rows for run in row.experiments]
    predictions = [_read_predictions(run, definition, top_k) for run in runs]
    classes = sorted({name for each in predictions for name in each.classes})
    labels = _indices(predictions[0].labels, classes)
    values, replicates = _resample(predictions, labels, classes)
    if np.isnan(values).any():
        raise PipelineError(f"--metric {metric} is not defined on a test set of one class")
    of_row = np.split(np.arange(len(runs)), np.cumsum([len(row.experiments) for row in rows])[:-1])
    means = np.array([values[seeds].mean() for seeds in of_row])
    resamples = np.stack([replicates[:, seeds].mean(axis=1) for seeds in of_row], axis=1)
    order = np.argsort(-means if definition.higher_is_better else means, kind="stable")

    # Of a single run's proportion there is an exact interval, and of two such runs an exact test.
    hits = {
        index: predictions[seeds[0]].per_image > 0
        for index, seeds in enumerate(of_row)
        if definition.is_proportion and len(seeds) == 1
    }
    p = resampled_p(resamples, means)
    if hits:
        single = np.array(list(hits))
        p[np.ix_(single, single)] = _mcnemar_p(np.stack(list(hits.values())))
    p = holm_corrected(p[np.ix_(order, order)])
    estimates = [
        proportion_estimate(hits[index], confidence)
        if index in hits
        else resampled_estimate(definition, float(mean), column, labels=labels, confidence=confidence)
        for index, (mean, column) in enumerate(zip(means, resamples.T, strict=True))
    ]
    ranked = [RankedRow(rows[index], estimates[index], values[of_row[index]].tolist()) for index in order]
    return Ranking(metric, confidence, ranked, p, groups(range(len(rows)), p, 1 - confidence), len(labels))


@dataclass(frozen=True)
class _Predictions:
    """A run's predictions, in an order that depends on the images' content alone."""

    labels: pd.Series
    """Names."""
    predicted: pd.Series
    """Names."""
    classes: list[str]
    per_image: np.ndarray
    """Values whose mean is the metric, float64 [n]; empty where it is not a mean."""


def _read_predictions(run: Experiment, metric: Metric, top_k: int) -> _Predictions:
    predictions_file, classes_file = run.file(PREDICTIONS), run.file(CLASSES)
    if predictions_file is None or classes_file is None:
        raise PipelineError(
            f"{run.name} ({run.run_id}) has no {PREDICTIONS} or {CLASSES} in MLflow; run its experiment again"
        )
    table = pd.read_parquet(predictions_file, columns=["label", "sha256", "probabilities"])
    table = table.sort_values(["sha256", "label"], kind="stable", ignore_index=True)
    probabilities, classes = np.stack(table["probabilities"].to_list()), read_json(classes_file)
    labels, predicted = _indices(table["label"], classes), pd.Series(np.asarray(classes)[probabilities.argmax(axis=1)])
    per_image = metric.per_image(labels, probabilities, top_k) if metric.per_image else np.empty(0)
    return _Predictions(table["label"], predicted, classes, per_image.astype(np.float64))


def _indices(names: pd.Series, classes: list[str]) -> np.ndarray:
    """Class indices of class names: int64 [n]."""
    return pd.Categorical(names, categories=classes).codes.astype(np.int64)


def _resample(predictions: list[_Predictions], labels: np.ndarray, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each run's value, float [runs], and its value in each resample, float [resamples, runs]: all in the same ones."""
    bootstrap = Bootstrap(labels, _RESAMPLES, _SEED)
    if predictions[0].per_image.size:
        columns = np.stack([each.per_image for each in predictions], axis=1)
        return columns.mean(axis=0), bootstrap.means(columns)
    predicted = [_indices(each.predicted, classes) for each in predictions]
    values = np.array([macro_f1(labels, each) for each in predicted])
    return values, bootstrap.macro_f1(np.stack(predicted, axis=1), len(classes))


def _mcnemar_p(hits: np.ndarray) -> np.ndarray:
    """P of McNemar's exact test of each pair of k models, float [k, k], by their hits, bool [k, n]."""
    right = hits.astype(np.float64)
    gained = np.rint((1 - right) @ right.T).astype(int)
    p = np.ones(gained.shape)
    for a, b in zip(*np.tril_indices(len(p), -1), strict=True):
        p[a, b] = p[b, a] = mcnemar(gained[a, b], gained[b, a])
    return p


def winner(ranking: Ranking, cost: str) -> int | None:
    """Find the cheapest row of those that do not differ significantly from the best one.

    Of equally cheap rows it is the one with fewer trained parameters, then the better one. Costs are equal where their
    first two digits are: files of one network differ by bytes, and times by what else the machine did.

    Returns:
        Its index; None where no run has these costs.
    """
    candidates = []
    for index in ranking.top:
        costs = [ranking.rows[index].row.mean(COSTS[name].metric) for name in (cost, "trainable")]
        rounded = [float(f"{value:.1e}") for value in costs if value is not None]
        if len(rounded) == len(costs):
            candidates.append((rounded, index))
    return min(candidates)[1] if candidates else None


def reason(ranking: Ranking, index: int, cost: str) -> str:
    """Explain in a sentence why that row wins."""
    level = f"{1 - ranking.confidence:.2g}"
    if len(ranking.rows) == 1:
        return "It is the only one."
    if len(ranking.top) == 1:
        return f"It is significantly better than every other one (corrected p below {level})."
    best = "It is the best" if index == 0 else f"The best, {ranking.rows[0].row.label}, is not significantly better"
    return (
        f"{best}; {len(ranking.top)} models do not differ significantly at the level {level}, "
        f"and of these it is lowest in {COSTS[cost].label}."
    )


def best_experiment(
    config: Config,
    *,
    cost: str = "size",
    query: str | None = None,
    sweep: str | None = None,
    run_ids: Sequence[str] | None = None,
) -> Experiment:
    """Find the cheapest experiment whose accuracy does not differ significantly from the best one's.

    Of several seeds it is the first, since a choice among them by test images would be luck.

    Args:
        config: with the tracking store, and the confidence of the tests.
        cost: of `COSTS`.
        query: see `pipeline.comparison.experiments.find`; so are `sweep` and `run_ids`.
        sweep: see `query`.
        run_ids: see `query`.

    Raises:
        PipelineError: there is no complete experiment.
    """
    experiments = find(config.tracking, query=query, sweep=sweep, run_ids=run_ids)
    rows = make_rows(select(experiments, strict=run_ids is not None).experiments)
    ranking = rank(rows, "accuracy", config.evaluate.top_k, config.evaluate.confidence)
    return ranking.rows[winner(ranking, cost) or 0].row.experiments[0]
