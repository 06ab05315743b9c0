"""Paired tests against scipy and statsmodels, and the groups made of them."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.significance import compare_hits, groups, holm_corrected, mcnemar, resampled_p


def hits(both: int, lost: int, gained: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, True, False, False], [both, lost, gained, neither])
    second = np.repeat([True, False, True, False], [both, lost, gained, neither])
    return first, second


@pytest.mark.parametrize("table", [(300, 12, 3, 26), (40, 5, 5, 0), (380, 0, 1, 19), (9, 9, 0, 2)])
def test_mcnemar_is_that_of_statsmodels(table):
    both, lost, gained, neither = table
    expected = statsmodels_mcnemar([[both, lost], [gained, neither]], exact=True).pvalue
    found = compare_hits(*hits(*table), 0.95)
    assert found.p == pytest.approx(expected, abs=1e-6)
    assert (found.gained, found.lost) == (gained, lost)
    assert found.value == pytest.approx((gained - lost) / sum(table))
    assert found.low < found.value < found.high


def test_one_image_of_341_is_no_difference():
    found = compare_hits(*hits(312, 0, 1, 28), 0.95)
    assert found.p == 1
    assert found.low < 0 < found.high


def test_models_that_agree_on_every_image_are_not_known_to_be_equal():
    found = compare_hits(*hits(90, 0, 0, 10), 0.95)
    assert (found.value, found.p) == (0, 1)
    assert found.low < 0 < found.high
    assert mcnemar(0, 0) == 1


def test_newcombes_interval_without_correlation_is_his_of_independent_proportions():
    """Of margins that are independent by count, the correlation is 0, and the interval that of two separate samples."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    found = compare_hits(*hits(48, 12, 32, 8), 0.95)
    low, high = confint_proportions_2indep(80, 100, 60, 100, method="newcomb", compare="diff", alpha=0.05)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says():
    generator, shares, covered, repeats = np.random.default_rng(0), np.array([0.80, 0.05, 0.09, 0.06]), 0, 2000
    for _ in range(repeats):
        found = compare_hits(*hits(*generator.multinomial(300, shares)), 0.95)
        covered += found.low <= 0.04 <= found.high
    assert 0.93 <= covered / repeats <= 0.97


def test_resampled_p_is_that_of_the_paired_z_test():
    generator = np.random.default_rng(1)
    values = generator.normal([0.0, 0.02, 0.2], size=(400, 3))
    labels = np.zeros(400, int)
    p = resampled_p(Bootstrap(labels, 20_000, 0).means(values), values.mean(axis=0))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        gaps = values[:, a] - values[:, b]
        z = gaps.mean() / (gaps.std() / np.sqrt(400))
        assert p[a, b] == p[b, a] == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.02)
    assert np.array_equal(np.diag(p), np.ones(3))


def test_models_equal_in_every_resample():
    replicates = np.random.default_rng(0).normal(size=(100, 1)).repeat(2, axis=1)
    assert resampled_p(replicates, np.array([0.5, 0.5])).min() == 1


def test_holms_correction_is_that_of_statsmodels():
    p = np.array([[1, 0.01, 0.04], [0.01, 1, 0.03], [0.04, 0.03, 1]])
    expected = multipletests([0.01, 0.04, 0.03], method="holm")[1]
    assert holm_corrected(p)[np.triu_indices(3, 1)] == pytest.approx(expected)
    assert np.array_equal(holm_corrected(p), holm_corrected(p).T)
    assert holm_corrected(np.ones((1, 1))).tolist() == [[1]]


def test_groups_are_all_that_can_not_be_told_apart():
    # 0 and 1 alike, 1 and 2 alike, 0 and 2 different; 3 different from all.
    p = np.ones((4, 4))
    for a, b in ((0, 2), (0, 3), (1, 3), (2, 3)):
        p[a, b] = p[b, a] = 0.001
    assert groups([0, 1, 2, 3], p, 0.05) == [[0, 1], [1, 2], [3]]
    assert groups([3, 2, 1, 0], p, 0.05) == [[3], [2, 1], [1, 0]]
    assert groups(range(3), np.ones((3, 3)), 0.05) == [[0, 1, 2]]
