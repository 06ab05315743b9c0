"""Training images that are most similar to test images, by the features from which phase 1 classifies."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.evaluation.phase_result import PhaseResult, TestSet
from pipeline.storage.cache import Cache
from pipeline.storage.files import file_sha256
from pipeline.storage.shards import Append
from pipeline.training.features import TrainingData

COLUMNS = ["path", "neighbour", "label"]
_COUNT, _CHUNK = 3, 1024
_NONE = -1


def neighbours_table(
    shown: pd.DataFrame,
    result: PhaseResult,
    test: TestSet,
    training: TrainingData,
    rows: pd.DataFrame,
    cache: Cache,
) -> pd.DataFrame:
    """List the training images that are most similar to some test images, the nearest first.

    Args:
        shown: The chosen test images, with the column path.
        result: Result of phase 1, whose features the jobs of a sweep share.
        test: All test images.
        training: Training and validation images.
        rows: Their rows in the manifest.
        cache: Cache of the neighbours of all test images.

    Returns:
        Table with the columns path (of the test image), neighbour (path of the training image) and label (its class).
        It is empty if the features of phase 1 are not cached.
    """
    if shown.empty:
        return pd.DataFrame(columns=COLUMNS)
    places = _neighbours(result, test, training, cache)
    chosen = pd.Index(test.rows["path"]).get_indexer(shown["path"])
    pairs = [(path, place) for path, own in zip(shown["path"], places[chosen], strict=True) for place in own]
    found = [(path, *rows[["path", "label"]].iloc[place]) for path, place in pairs if place != _NONE]
    return pd.DataFrame(found, columns=COLUMNS)


def _neighbours(result: PhaseResult, test: TestSet, training: TrainingData, cache: Cache) -> np.ndarray:
    """Return the indices of each test image's neighbours in the training images, int32 [n, 3]; -1 for none."""

    def build(append: Append) -> None:
        part = result.model.parts.frozen
        found = np.full((len(test.rows), _COUNT), _NONE, np.int32)
        # Others would be computed for this alone.
        if part.pooled and all(each.fits(part, len(each.images)) for each in (test.features, training.features)):
            queries = unit_length(test.features.pooled(part)(np.arange(len(test.rows))))
            load = training.features.pooled(part)
            nearest = Nearest(queries, min(_COUNT, len(training.train_indices)))
            for start in range(0, len(training.train_indices), _CHUNK):
                indices = training.train_indices[start : start + _CHUNK]
                nearest.add(unit_length(load(indices)), indices)
            found[:, : nearest.places.shape[1]] = nearest.places
        append(found)

    depends = {
        "model": result.model.depends["model"],
        "precision": result.model.depends["precision"],
        "test": test.features.depends,
        "train_validation": training.features.depends,
        "train": hashlib.sha256(training.train_indices.tobytes()).hexdigest(),
        "code": file_sha256(Path(__file__)),
    }
    return cache.array("neighbours", depends, count=len(test.rows), shape=(_COUNT,), dtype="int32", build=build)


class Nearest:
    """The most similar of many vectors, which are given in parts."""

    def __init__(self, queries: np.ndarray, count: int):
        """Search for `count` vectors for each query, float32 [n, d] of unit length."""
        self._queries, self._count = queries, count
        self.places = np.empty((len(queries), 0), np.int64)
        self._similarities = np.empty((len(queries), 0), np.float32)

    def add(self, vectors: np.ndarray, places: np.ndarray) -> None:
        """Compare vectors, float32 [m, d] of unit length, which are at `places`, int64 [m]."""
        similarities = np.concatenate([self._similarities, self._queries @ vectors.T], axis=1)
        all_places = np.concatenate([self.places, np.broadcast_to(places, (len(self._queries), len(places)))], axis=1)
        # Stable, so that the first of equal ones is taken, whatever the parts.
        order = np.argsort(-similarities, axis=1, kind="stable")[:, : self._count]
        self.places = np.take_along_axis(all_places, order, axis=1)
        self._similarities = np.take_along_axis(similarities, order, axis=1)


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Return vectors, float [n, d], scaled to unit length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
