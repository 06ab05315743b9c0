"""The stratified bootstrap: the test images drawn again, with replacement, class by class (B. Efron, 1979)."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

# Of the numbers that are held at once.
_AT_ONCE = 5_000_000


class Bootstrap:
    """Seeded resamples of labelled images. Every class keeps its number of images, as in a test set that was cut off stratified."""

    def __init__(self, labels: np.ndarray, resamples: int, seed: int):
        """`labels`: class indices, int [n]. The same labels, number and seed give the same resamples, so that models can be paired."""
        self.labels, self.resamples, self._seed = labels, resamples, seed

    def means(self, shares: np.ndarray) -> np.ndarray:
        """Weighted means of columns float [n, m] in each resample: float64 [resamples, m]."""
        return np.concatenate([weights @ shares for weights in self._weights()]) / len(self.labels)

    def macro_f1(self, predicted: np.ndarray, class_count: int) -> np.ndarray:
        """Macro F1 of the predictions of m models, int [n, m], in each resample: float64 [resamples, m]."""
        models = [_Counts(self.labels, column, class_count) for column in predicted.T]
        values = []
        for weights in self._weights():
            columns = np.ascontiguousarray(weights.T)
            values.append(np.stack([model.macro_f1(columns) for model in models], axis=1))
        return np.concatenate(values)

    def _weights(self) -> Iterator[np.ndarray]:
        """How often each image was drawn: float32 [b, n], in parts that make up all resamples."""
        generator = np.random.default_rng(self._seed)
        order = np.argsort(self.labels, kind="stable")
        counts = np.bincount(self.labels)
        sizes = counts[self.labels[order]]
        starts = (np.cumsum(counts) - counts)[self.labels[order]]
        count = len(order)
        back = np.empty_like(order)
        back[order] = np.arange(count)
        for start in range(0, self.resamples, max(1, _AT_ONCE // count)):
            rows = min(max(1, _AT_ONCE // count), self.resamples - start)
            drawn = starts + (generator.random((rows, count)) * sizes).astype(np.int64)
            drawn += count * np.arange(rows)[:, np.newaxis]
            weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
            yield weights[:, back].astype(np.float32)


class _Counts:
    """What of one model's predictions macro F1 is counted from."""

    def __init__(self, labels: np.ndarray, predicted: np.ndarray, class_count: int):
        images, shape = np.arange(len(labels)), (class_count, len(labels))
        self._hits = sparse.csr_array((labels == predicted, (labels, images)), shape=shape, dtype=np.float32)
        self._chosen = sparse.csr_array((np.ones(len(labels)), (predicted, images)), shape=shape, dtype=np.float32)
        # The same in every resample.
        self._supports = np.bincount(labels, minlength=class_count)[:, np.newaxis]

    def macro_f1(self, weights: np.ndarray) -> np.ndarray:
        """Over the classes that occur in labels or predictions, under weights [n, b]: float64 [b]."""
        total = self._chosen @ weights + self._supports
        occurs = total > 0
        scores = np.divide(2.0 * (self._hits @ weights), total, out=np.zeros(total.shape), where=occurs)
        return scores.sum(axis=0) / occurs.sum(axis=0)
