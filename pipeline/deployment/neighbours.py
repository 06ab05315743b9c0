"""Search for the training images that are most similar to an image."""

from pathlib import Path

import numpy as np

from pipeline.config import Config
from pipeline.deployment.embedder import Embedder
from pipeline.deployment.predictions import Neighbour
from pipeline.evaluation.neighbours import unit_length
from pipeline.inputs.manifest import Manifest, read_manifest
from pipeline.jobs.stage import places_of
from pipeline.stages.settings import Places

_DECIMALS = 6


class NeighbourSearch:
    """Search by the cosine similarity of image vectors, over all training images."""

    def __init__(self, embedder: Embedder, manifest: Manifest, places: Places, count: int):
        """Compute the vectors of the training images, or take them from the cache.

        Args:
            embedder: Network that computes vectors.
            manifest: Manifest of the data set that the classifier was trained on.
            places: Folder of the images, and the cache.
            count: Number of neighbours of an image.
        """
        self._embedder = embedder
        # Features of training and validation images are cached together.
        rows = manifest.split("train", "validation")
        training = (rows["split"] == "train").to_numpy()
        self._vectors = unit_length(embedder.of_rows(rows, places)[training])
        self._paths = [str(places.images / path) for path in rows.loc[training, "path"]]
        self._labels = rows.loc[training, "label"].tolist()
        self._count = min(count, len(self._paths))

    @classmethod
    def of_classifier(cls, file: Path, config: Config, prepared: Path, count: int) -> "NeighbourSearch":
        """Return the search by the vectors of a saved classifier.

        Args:
            file: The classifier.
            config: Configuration of its experiment.
            prepared: Folder with the outputs of the experiment's stage prepare.
            count: Number of neighbours of an image.
        """
        return cls(Embedder.of_classifier(file, config), read_manifest(prepared), places_of(config), count)

    def __call__(self, images: np.ndarray) -> list[list[Neighbour]]:
        """Return the neighbours of each image, uint8 [b, h, w, 3], the nearest first."""
        similarities = unit_length(self._embedder.of_pixels(images)) @ self._vectors.T
        nearest = np.argpartition(-similarities, self._count - 1)[:, : self._count]
        found = []
        for own, places in zip(similarities, nearest, strict=True):
            ordered = places[np.argsort(-own[places], kind="stable")]
            found.append([self._neighbour(place, own[place]) for place in ordered])
        return found

    def _neighbour(self, place: int, similarity: float) -> Neighbour:
        return Neighbour(self._paths[place], self._labels[place], round(float(similarity), _DECIMALS))
