"""CUDA_VISIBLE_DEVICES, as CUDA reads it."""

import pytest

from pipeline.system.gpu import gpus_hidden


@pytest.mark.parametrize(
    ("value", "hidden"),
    [(None, False), ("", True), (" ", True), ("-1", True), ("-1,0", True), ("0", False), ("0,-1", False)],
)
def test_an_empty_or_a_negative_first_device_hides_all(value, hidden):
    assert gpus_hidden({} if value is None else {"CUDA_VISIBLE_DEVICES": value}) == hidden
