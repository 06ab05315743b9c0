"""Speed of the batches that training reads, against reading the same memory map in a bare loop."""

import math
import tempfile
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.gpu.cells import AUGMENTED, Cell
from benchmarks.gpu.timing import ROUNDS, Measured, rounds
from pipeline.config import Config
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.batches import FeatureInputs, ImageInputs, Inputs, Labels, Plan, batches, shuffled
from pipeline.inputs.images import DecodedImages
from pipeline.storage.cache import Cache
from pipeline.storage.shards import Append, Rows

_FEATURES = (7, 7, 1280)
_CLASSES, _VARIANTS = 10, 3


class MadeImages:
    """Random images in a memory map, which replace decoded ones."""

    def __init__(self, rows: Rows):
        self.shape, self._rows = rows.shape, rows

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the images at `indices`, integer [b], as uint8 [b, h, w, 3]."""
        return self._rows.take(indices)


def measure_feed(cell: Cell, config: Config) -> Measured:
    """Read epochs of all inputs in batches, with labels, as one fit does, and the same rows in a bare loop.

    The bare loop augments images by the same function, which takes most of the time, but reads nothing ahead.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = _made_rows(cell, Path(folder))
        inputs, plan = _inputs(cell, config, rows)
        labels = Labels(np.arange(cell.images) % _CLASSES, _CLASSES)
        plain = [
            np.memmap(file, f"u{rows.dtype.itemsize}", "r").reshape(-1, *rows.shape)
            for file in sorted(Path(folder).rglob("*.bin"))
        ]
        order = np.random.default_rng(config.seed).permutation(cell.images)

        variant = Variants(config.augment, cell.images, cell.image_size, config.seed)[1]

        def bare() -> None:
            for start in range(0, cell.images, cell.batch):
                indices = order[start : start + cell.batch]
                batch = _gather(plain, indices)
                if cell.subject == AUGMENTED and variant:
                    variant.select(indices).apply(batch)

        # The batches of an epoch are loaded while the last of the epoch before are used.
        epochs = iter(batches(inputs, plan, cell.batch, epochs=range(2 + ROUNDS), labels=labels))
        steps = math.ceil(cell.images / cell.batch)

        def pipeline() -> None:
            for _ in range(steps):
                # Not kept, as in training: new memory for each batch would take longer than reading it.
                next(epochs)

        first, ours = rounds(pipeline)
        return Measured(first, ours, rounds(bare)[1], cell.images)


def _gather(shards: list[np.ndarray], indices: np.ndarray) -> np.ndarray:
    if len(shards) == 1:
        return shards[0][indices]
    return np.stack([shards[shard][place] for shard, place in zip(*np.divmod(indices, len(shards[0])), strict=True)])


def _made_rows(cell: Cell, folder: Path) -> Rows:
    draws = np.random.default_rng(1)
    images = cell.subject.startswith("images")
    shape, dtype = ((cell.image_size, cell.image_size, 3), "uint8") if images else (_FEATURES, "bfloat16")

    def build(append: Append) -> None:
        for _ in range(cell.images):
            row = draws.integers(0, 256, (1, *shape), dtype=np.uint8)
            append(row if images else row.astype(np.uint16).view(np.dtype(dtype)))

    return Cache(folder).rows("made", {"feed": cell.subject}, shape=shape, dtype=dtype, build=build)


def _inputs(cell: Cell, config: Config, rows: Rows) -> tuple[Inputs, Plan]:
    """Return the inputs of a feed and their order in an epoch."""
    every = np.arange(cell.images)
    if cell.subject.startswith("features"):
        variants = _VARIANTS if "variants" in cell.subject else 1
        # The variants share their rows, which are in memory after the first round in either loop.
        return FeatureInputs([(rows, every)] * variants), shuffled(cell.images, variants, config.seed)
    images = cast(DecodedImages, MadeImages(rows))
    if cell.subject != AUGMENTED:
        return ImageInputs(images, every, [None]), shuffled(cell.images, 1, config.seed)
    drawn = Variants(config.augment, cell.images, cell.image_size, config.seed)
    return ImageInputs(images, every, drawn), shuffled(cell.images, None, config.seed)
