"""Confidence intervals of metrics: Wilson intervals for proportions, and the stratified bootstrap for all others."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import f1_score
from statsmodels.stats.proportion import proportion_confint

from pipeline.evaluation.metrics import METRICS, Estimate, Metric, stored_name

# Maximum number of bootstrap weights in memory at once.
_WEIGHTS_AT_ONCE = 5_000_000


def wilson(hits: np.ndarray | float, count: np.ndarray | float, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute the lower and upper ends of the Wilson interval of a proportion (1927); 0 and 1 if `count` is 0."""
    count = np.asarray(count, np.float64)
    low, high = proportion_confint(hits, np.maximum(count, 1e-9), alpha=1 - confidence, method="wilson")
    return np.where(count > 0, low, 0.0), np.where(count > 0, high, 1.0)


def estimates(
    labels: np.ndarray, probabilities: np.ndarray, *, top_k: int, resamples: int, confidence: float, seed: int
) -> dict[str, Estimate]:
    """Compute all metrics of one model that have a confidence interval.

    Args:
        labels: Class indices, int [n].
        probabilities: Class probabilities, float [n, classes].
        top_k: Number k of classes in the top-k accuracy, which is omitted unless there are more than k classes.
        resamples: Number of bootstrap resamples.
        confidence: Confidence level of the intervals, in (0, 1).
        seed: Seed of the bootstrap.

    Returns:
        Estimates by the metrics' names in metrics.json; without auc if only one class occurs.
    """
    class_count, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    found: dict[str, Estimate] = {}
    means: dict[str, np.ndarray] = {}
    for name, metric in METRICS.items():
        if metric.per_image is None or (name == "top_k" and class_count <= top_k):
            continue
        per_image = metric.per_image(labels, probabilities, top_k)
        if metric.is_proportion:
            found[name] = proportion_estimate(per_image, confidence)
        elif not np.isnan(per_image).any():
            means[name] = per_image
    bootstrap = Bootstrap(labels, resamples, seed)
    replicates = dict(zip(means, bootstrap.means(np.stack(list(means.values()), axis=1)).T, strict=True))
    replicates["macro_f1"] = bootstrap.macro_f1(predicted[:, np.newaxis], class_count)[:, 0]
    values = {name: float(column.mean()) for name, column in means.items()} | {"macro_f1": macro_f1(labels, predicted)}
    for name, column in replicates.items():
        found[name] = resampled_estimate(METRICS[name], values[name], column, labels=labels, confidence=confidence)
    return {stored_name(name, top_k): found[name] for name in METRICS if name in found}


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the mean F1 over all classes that occur in the labels or the predictions, int [n] each."""
    return float(f1_score(labels, predicted, average="macro"))


def proportion_estimate(right: np.ndarray, confidence: float) -> Estimate:
    """Compute the proportion of true values in `right`, bool [n], with its Wilson interval."""
    low, high = wilson(right.sum(), len(right), confidence)
    return Estimate(float(right.mean()), float(low), float(high))


def resampled_estimate(
    metric: Metric, value: float, replicates: np.ndarray, *, labels: np.ndarray, confidence: float
) -> Estimate:
    """Estimate a metric's interval from the standard deviation of its bootstrap resamples.

    The interval is normal on the logit scale, or on the log scale if the metric is unbounded. In simulations, its
    coverage is the nominal one. Nominal 95 % intervals from quantiles of the resamples cover only 92 to 95 %, and 86 %
    for AUC.

    Args:
        metric: Entry of `METRICS`.
        value: Value of the metric on all images.
        replicates: Value of the metric in each resample, float [resamples].
        labels: Class indices of the images, int [n].
        confidence: Confidence level of the interval, in (0, 1).
    """
    if value <= 0 or (value >= 1 and metric.bounded):
        return _at_range_limits(metric, Estimate(value, value, value), labels, confidence)
    count, classes = len(labels), len(np.unique(labels))
    # The variance of a resampled class of m images is too small by the factor (m - 1) / m.
    deviation = replicates.std() * np.sqrt(count / max(count - classes, 1))
    reach = norm.ppf((1 + confidence) / 2) * deviation / (value * (1 - value) if metric.bounded else value)
    if not metric.bounded:
        return Estimate(value, float(value * np.exp(-reach)), float(value * np.exp(reach)))
    estimate = Estimate(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))
    return _at_range_limits(metric, estimate, labels, confidence)


def _at_range_limits(metric: Metric, estimate: Estimate, labels: np.ndarray, confidence: float) -> Estimate:
    """Return the estimate, with a Wilson interval if its value is at a limit of the metric's range.

    Resamples of predictions without errors have no errors either, so the bootstrap interval would be too narrow. The
    Wilson interval is that of the number of images; for a mean over classes of unequal size, of a smaller effective
    number.
    """
    if not metric.bounded:
        return estimate
    # A tolerance, because the contributions to a mean are rounded.
    if 1e-9 < estimate.value < 1 - 1e-9:
        return Estimate(estimate.value, max(estimate.low, 0.0), min(estimate.high, 1.0))
    counts = np.unique(labels, return_counts=True)[1]
    effective_n = len(counts) ** 2 / (1 / counts).sum() if metric.averages_classes else len(labels)
    low, high = wilson(round(estimate.value) * effective_n, effective_n, confidence)
    return Estimate(estimate.value, min(float(low), estimate.low), max(float(high), estimate.high))


class Bootstrap:
    """Stratified bootstrap: resampling of labelled images with replacement, within each class.

    Every class keeps its number of images, as in a stratified test split. The same labels, number of resamples and seed
    give the same resamples, so that models can be compared in pairs.

    Source: B. Efron, Bootstrap Methods: Another Look at the Jackknife, 1979.
    """

    def __init__(self, labels: np.ndarray, resamples: int, seed: int):
        """Create a bootstrap of these images.

        Args:
            labels: Class indices, int [n].
            resamples: Number of resamples.
            seed: Seed of the random draws.
        """
        self.labels, self.resamples, self._seed = labels, resamples, seed

    def means(self, columns: np.ndarray) -> np.ndarray:
        """Compute the means of the columns, float [n, m], in each resample, float64 [resamples, m]."""
        return np.concatenate([weights @ columns for weights in self._weights()]) / len(self.labels)

    def macro_f1(self, predicted: np.ndarray, class_count: int) -> np.ndarray:
        """Compute macro F1 of m models in each resample, float64 [resamples, m], from predictions, int [n, m]."""
        models = [_Counts(self.labels, column, class_count) for column in predicted.T]
        values = []
        for weights in self._weights():
            columns = np.ascontiguousarray(weights.T)
            values.append(np.stack([model.macro_f1(columns) for model in models], axis=1))
        return np.concatenate(values)

    def _weights(self) -> Iterator[np.ndarray]:
        """Yield how often each image is drawn in each resample, in blocks of b resamples, float32 [b, n]."""
        generator = np.random.default_rng(self._seed)
        order = np.argsort(self.labels, kind="stable")
        counts = np.bincount(self.labels)
        sizes = counts[self.labels[order]]
        starts = (np.cumsum(counts) - counts)[self.labels[order]]
        count = len(order)
        back = np.argsort(order)
        block = max(1, _WEIGHTS_AT_ONCE // count)
        for start in range(0, self.resamples, block):
            rows = min(block, self.resamples - start)
            drawn = starts + (generator.random((rows, count)) * sizes).astype(np.int64)
            drawn += count * np.arange(rows)[:, np.newaxis]
            weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
            yield weights[:, back].astype(np.float32)


class _Counts:
    """Predictions of one model as sparse matrices, for computing macro F1 under many weightings."""

    def __init__(self, labels: np.ndarray, predicted: np.ndarray, class_count: int):
        images, shape = np.arange(len(labels)), (class_count, len(labels))
        self._hits = sparse.csr_array((labels == predicted, (labels, images)), shape=shape, dtype=np.float32)
        self._predicted = sparse.csr_array((np.ones(len(labels)), (predicted, images)), shape=shape, dtype=np.float32)
        # Equal in every resample, because resampling is stratified.
        self._supports = np.bincount(labels, minlength=class_count)[:, np.newaxis]

    def macro_f1(self, weights: np.ndarray) -> np.ndarray:
        """Compute macro F1, float64 [b], under image weights [n, b], over the classes in labels or predictions."""
        total = self._predicted @ weights + self._supports
        occurs = total > 0
        scores = np.divide(2.0 * (self._hits @ weights), total, out=np.zeros(total.shape), where=occurs)
        return scores.sum(axis=0) / occurs.sum(axis=0)
