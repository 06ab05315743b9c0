"""Tables of image vectors: of files, or of a prepared data set."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.deployment.embedder import Embedder
from pipeline.deployment.predictions import Unreadable, read_batches
from pipeline.inputs.manifest import read_manifest
from pipeline.stages.settings import Places
from pipeline.storage.files import whole_file
from pipeline.system.terminal import progress
from pipeline.training.cross_validation import chunks

_BATCH = 64
_TEXTS = ("path", "label", "split", "error")
# The images of which stages cache features together.
_TOGETHER = (("train", "validation"), ("test",))


class _Table:
    """Parquet file that is written in parts: texts, and the column vector with a list of float32 per image."""

    def __init__(self, file: Path):
        # A list of fixed length can't be null in a Parquet file.
        vector = pa.field("vector", pa.list_(pa.float32()))
        self._schema = pa.schema([*(pa.field(name, pa.string()) for name in _TEXTS), vector])
        self._writer = pq.ParquetWriter(file, self._schema)

    def add(self, rows: pd.DataFrame, vectors: np.ndarray) -> None:
        """Write rows, which may lack columns; the m rows without an error have the vectors, float32 [m, d]."""
        texts = [pa.array(rows[name] if name in rows else [None] * len(rows), pa.string()) for name in _TEXTS]
        readable = rows["error"].isna().to_numpy() if "error" in rows else np.ones(len(rows), bool)
        ends = np.append(0, np.cumsum(readable * vectors.shape[1]))
        lists = pa.ListArray.from_arrays(
            pa.array(ends, pa.int32()), pa.array(vectors.ravel()), mask=pa.array(~readable)
        )
        self._writer.write_table(pa.Table.from_arrays([*texts, lists], schema=self._schema))

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()


def embed_files(paths: Iterable[str], embedder: Embedder, file: Path) -> int:
    """Write the vectors of image files, and return the number of files that can't be read; they have an error instead.

    Args:
        paths: Paths of files.
        embedder: Network that computes the vectors.
        file: Output file.
    """
    listed, failed = list(paths), 0
    with ExitStack() as stack:
        table = _open(stack, file)
        advance = stack.enter_context(progress("embedding", len(listed)))
        for batch in read_batches(listed, embedder.decoding, _BATCH):
            errors = [each.error if isinstance(each, Unreadable) else None for _, each in batch]
            images = [each for _, each in batch if not isinstance(each, Unreadable)]
            vectors = embedder.of_pixels(np.stack(images)) if images else np.empty((0, embedder.width), np.float32)
            table.add(
                pd.DataFrame({"path": [_valid(path) for path, _ in batch], "error": pd.Series(errors, dtype=object)}),
                vectors,
            )
            failed += len(batch) - len(images)
            advance(len(batch))
    return failed


def embed_data_set(prepared: Path, embedder: Embedder, places: Places, file: Path) -> None:
    """Write the vectors of all images of a prepared data set, with label and split.

    Args:
        prepared: Folder with the outputs of stage prepare.
        embedder: Network that computes the vectors.
        places: Folder of the images, and the cache.
        file: Output file.
    """
    manifest = read_manifest(prepared)
    with ExitStack() as stack:
        table = _open(stack, file)
        for splits in _TOGETHER:
            rows = manifest.split(*splits)
            vectors = embedder.of_rows(rows, places)
            for part in chunks(np.arange(len(rows))):
                table.add(rows.iloc[part], vectors[part])


def _valid(path: str) -> str:
    """Return a path as valid UTF-8, which Parquet needs; other bytes become escape sequences."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _open(stack: ExitStack, file: Path) -> _Table:
    table = _Table(stack.enter_context(whole_file(file)))
    stack.callback(table.close)
    return table
