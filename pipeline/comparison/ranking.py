"""Ranking of experiments by a metric on the same test images, with intervals and paired significance tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment, Row, find, make_rows, select
from pipeline.config import Config
from pipeline.evaluation.intervals import Bootstrap, macro_f1, proportion_estimate, resampled_estimate
from pipeline.evaluation.metrics import METRICS, Estimate, Metric
from pipeline.evaluation.significance import groups, holm_corrected, mcnemar_pairs, resampled_p
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError

PREDICTIONS, CLASSES = "evaluate/predictions.parquet", "prepare/classes.json"
# Constants, so that the same comparison gives the same numbers.
_SEED, _RESAMPLES = 0, 2000


@dataclass(frozen=True)
class RankedRow:
    """A row with its estimate of the ranking metric."""

    row: Row
    estimate: Estimate
    """Mean over seeds, with an interval for the variation between test sets."""
    by_seed: list[float]
    """Values of the individual experiments."""

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for a single seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Ranking:
    """Ranking of rows by a metric, with the significance of their differences."""

    metric: str
    """Name of the metric in `METRICS`."""
    confidence: float
    rows: list[RankedRow]
    """Rows, best first."""
    p: np.ndarray
    """Holm-corrected p-values of all pairs of rows, float [k, k]."""
    groups: list[list[int]]
    """Row indices of each group without significant differences; the group of the best row comes first."""
    images: int
    """Number of test images."""

    @property
    def label(self) -> str:
        """Label of the metric."""
        return METRICS[self.metric].label.format(k="k")

    @property
    def gains(self) -> list[float]:
        """Metric of each row, negated if lower is better."""
        sign = 1 if METRICS[self.metric].higher_is_better else -1
        return [sign * each.estimate.value for each in self.rows]

    @property
    def top(self) -> list[int]:
        """Indices of the best row and of the rows that do not differ significantly from it."""
        return [index for index in range(len(self.rows)) if self.p[0, index] >= 1 - self.confidence]


def rank(rows: list[Row], metric: str, top_k: int, confidence: float) -> Ranking:
    """Rank rows by one metric on their common test images.

    Proportions of two single runs are compared by McNemar's exact test, and all others by the paired bootstrap over the
    test images. Results of rows with several seeds apply to these trained models, not to other seeds.

    Args:
        rows: Rows whose experiments have the same test images.
        metric: One of `pipeline.evaluation.metrics.RANKING_METRICS`.
        top_k: Number k of classes in the top-k accuracy.
        confidence: Confidence level of the intervals; the significance level of the tests is 1 - confidence.

    Raises:
        PipelineError: The metric is undefined on these images, or the predictions of a run are missing.
    """
    definition = METRICS[metric]
    runs = [run for row in rows for run in row.experiments]
    predictions = [_read_predictions(run, definition, top_k) for run in runs]
    classes = sorted({name for each in predictions for name in each.classes})
    labels = _indices(predictions[0].labels, classes)
    values, replicates = _resample(predictions, labels, classes)
    if np.isnan(values).any():
        raise PipelineError(f"--metric {metric} is undefined on a test set with a single class; choose another metric")
    of_row = np.split(np.arange(len(runs)), np.cumsum([len(row.experiments) for row in rows])[:-1])
    means = np.array([values[seeds].mean() for seeds in of_row])
    resamples = np.stack([replicates[:, seeds].mean(axis=1) for seeds in of_row], axis=1)
    order = np.argsort(-means if definition.higher_is_better else means, kind="stable")

    # Proportions of single runs have Wilson intervals and an exact test instead of the bootstrap.
    hits = {
        index: predictions[seeds[0]].per_image > 0
        for index, seeds in enumerate(of_row)
        if definition.is_proportion and len(seeds) == 1
    }
    p = resampled_p(resamples, means)
    if hits:
        single = np.array(list(hits))
        p[np.ix_(single, single)] = mcnemar_pairs(np.stack(list(hits.values())))
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
    """Predictions of a run, in an order that depends only on the contents of the images."""

    labels: pd.Series
    """Class names of the labels."""
    predicted: pd.Series
    """Class names of the predictions."""
    classes: list[str]
    per_image: np.ndarray
    """Values whose mean is the metric, float64 [n]; empty if the metric is not a mean over images."""


def _read_predictions(run: Experiment, metric: Metric, top_k: int) -> _Predictions:
    predictions_file, classes_file = run.file(PREDICTIONS), run.file(CLASSES)
    if predictions_file is None or classes_file is None:
        raise PipelineError(
            f"{run.name} ({run.run_id}) has no {PREDICTIONS} or {CLASSES} in MLflow; rerun its experiment"
        )
    table = pd.read_parquet(predictions_file, columns=["label", "sha256", "probabilities"])
    table = table.sort_values(["sha256", "label"], kind="stable", ignore_index=True)
    probabilities, classes = np.stack(table["probabilities"].to_list()), read_json(classes_file)
    labels, predicted = _indices(table["label"], classes), pd.Series(np.asarray(classes)[probabilities.argmax(axis=1)])
    per_image = metric.per_image(labels, probabilities, top_k) if metric.per_image else np.empty(0)
    return _Predictions(table["label"], predicted, classes, per_image.astype(np.float64))


def _indices(names: pd.Series, classes: list[str]) -> np.ndarray:
    """Convert class names to class indices, int64 [n]; unknown names give -1."""
    return pd.Categorical(names, categories=classes).codes.astype(np.int64)


def _resample(predictions: list[_Predictions], labels: np.ndarray, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the metric of each run on all images and in each resample; resamples are the same for all runs.

    Returns:
        - Values on all images, float [runs].
        - Values in each resample, float [resamples, runs].
    """
    bootstrap = Bootstrap(labels, _RESAMPLES, _SEED)
    if predictions[0].per_image.size:
        columns = np.stack([each.per_image for each in predictions], axis=1)
        return columns.mean(axis=0), bootstrap.means(columns)
    predicted = [_indices(each.predicted, classes) for each in predictions]
    values = np.array([macro_f1(labels, each) for each in predicted])
    return values, bootstrap.macro_f1(np.stack(predicted, axis=1), len(classes))


def winner(ranking: Ranking, cost: str) -> int | None:
    """Find the cheapest of the rows that do not differ significantly from the best row.

    Ties are broken by fewer trainable parameters, then by the better metric. Costs are rounded to two digits, because
    file sizes of the same network vary by a few bytes, and times vary with the load of the machine.

    Returns:
        Index of the row; None if the costs of all candidates are unknown.
    """
    candidates = [(costs, index) for index in ranking.top if (costs := _rounded_costs(ranking, index, cost))]
    return min(candidates)[1] if candidates else None


def _rounded_costs(ranking: Ranking, index: int, cost: str) -> list[float]:
    """Return a row's cost and its number of trainable parameters, to two digits; empty if one is unknown."""
    costs = [ranking.rows[index].row.mean(COSTS[name].metric) for name in (cost, "trainable")]
    return [] if None in costs else [float(f"{value:.1e}") for value in costs]


def reason(ranking: Ranking, index: int, cost: str) -> str:
    """Explain in one or two sentences why the row at `index` is recommended."""
    level = f"{1 - ranking.confidence:.2g}"
    if len(ranking.rows) == 1:
        return "It is the only model."
    if len(ranking.top) == 1:
        return f"It is significantly better than every other model (corrected p below {level})."
    best = (
        f"It has the best {ranking.label}"
        if index == 0
        else f"The best, {ranking.rows[0].row.label}, is not significantly better"
    )
    own = _rounded_costs(ranking, index, cost)
    known = [costs for each in ranking.top if each != index and (costs := _rounded_costs(ranking, each, cost))]
    as_cheap = [costs for costs in known if costs[0] == own[0]]
    label = COSTS[cost].label
    advantage = f"it has the lowest {label}"
    if as_cheap:
        shared = "all have" if len(as_cheap) == len(ranking.top) - 1 else f"{len(as_cheap) + 1} have"
        fewest = all(costs[1] > own[1] for costs in as_cheap)
        advantage = f"{shared} {'about the same' if as_cheap == known else 'the lowest'} {label}, and "
        if fewest:
            advantage += "it trains the fewest parameters"
        else:
            advantage += (
                f"it has the best {ranking.label} of those that train as few"
                if index
                else "none trains fewer parameters"
            )
    return (
        f"{best}. Of the {len(ranking.top)} models that do not differ significantly at the level {level}, {advantage}."
    )


def best_experiment(
    config: Config,
    *,
    cost: str = "size",
    query: str | None = None,
    sweep: str | None = None,
    run_ids: Sequence[str] | None = None,
) -> Experiment:
    """Find the cheapest experiment whose accuracy does not differ significantly from the best accuracy.

    For a configuration with several seeds, the first seed is returned. A choice of the best seed would be fitted to the
    test images.

    Args:
        config: Configuration with the tracking store and the settings of the evaluation.
        cost: One of `COSTS`.
        query: MLflow filter string for runs.
        sweep: Part of the command line of a sweep; see `pipeline.comparison.experiments.find`.
        run_ids: Ids of runs, or their first characters.

    Raises:
        PipelineError: There is no complete experiment, or the experiments can't be ranked.
    """
    experiments = find(config.tracking, query=query, sweep=sweep, run_ids=run_ids)
    rows = make_rows(select(experiments, strict=run_ids is not None).experiments)
    ranking = rank(rows, "accuracy", config.evaluate.top_k, config.evaluate.confidence)
    return ranking.rows[winner(ranking, cost) or 0].row.experiments[0]
