"""Rows in one and in several files."""

import numpy as np
import pytest

from pipeline.storage.shards import Rows, aligned_empty


@pytest.fixture(params=[10, 4], ids=["one file", "three files"])
def rows(request) -> Rows:
    values = np.arange(30, dtype=np.float32).reshape(10, 3).view(np.uint32)
    return Rows([values[start : start + request.param] for start in range(0, 10, request.param)], (3,), np.dtype("f4"))


def test_rows_come_in_the_order_of_their_indices(rows):
    assert rows.take(np.array([9, 0, 4, 4]))[:, 0].tolist() == [27, 0, 12, 12]
    assert rows.take(np.array([], np.int64)).shape == (0, 3)


def test_rows_are_copied_to_their_places(rows):
    out = np.zeros((4, 3), np.float32)
    rows.copy(np.array([8, 1]), out, np.array([3, 0]))
    assert out[:, 0].tolist() == [3, 0, 0, 24]


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_without_a_row_is_an_error(rows, index):
    with pytest.raises(IndexError, match="of 10 rows"):
        rows.take(np.array([2, index]))


@pytest.mark.parametrize("shape", [(1,), (7, 5), (64, 3)])
def test_an_array_is_aligned(shape):
    for _ in range(8):
        empty = aligned_empty(shape, np.dtype("f4"))
        assert empty.ctypes.data % 64 == 0
        assert (empty.shape, empty.dtype) == (shape, np.float32)
