"""The peak speed of cards by their names."""

import pytest

from benchmarks.gpu.peaks import fraction_of_peak


@pytest.mark.parametrize(
    ("device", "precision", "fraction"),
    [
        ("NVIDIA H100 80GB HBM3", "auto", 0.5),
        ("NVIDIA H100 80GB HBM3, NVIDIA H100 80GB HBM3", "tf32", 1.0),
        ("NVIDIA H100 80GB HBM3", "float32", None),
        ("NVIDIA A100-SXM4-40GB", "auto", 989 / 624),
        ("NVIDIA A10", "auto", 989 / 250),
        ("Tesla V100-SXM2-16GB", "auto", 989 / 250),
        ("NVIDIA L4", "auto", 989 / 242),
        ("NVIDIA L40S", "auto", 989 / 724),
        ("Something else", "auto", None),
    ],
)
def test_half_of_an_h100(device, precision, fraction):
    # 989 * 10^12 operations are twice as many as multiply-adds.
    found = fraction_of_peak(device, precision, 989e12 / 4)
    assert found == (None if fraction is None else pytest.approx(fraction))


def test_the_feed_has_no_peak():
    assert fraction_of_peak("NVIDIA H100 80GB HBM3", "auto", 0) is None
