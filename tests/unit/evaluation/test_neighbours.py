"""The search for the most similar vectors."""

import numpy as np

from pipeline.evaluation.neighbours import Nearest, unit_length


def test_the_parts_make_no_difference():
    random = np.random.default_rng(0)
    queries, vectors = (unit_length(random.normal(size=(count, 4)).astype(np.float32)) for count in (5, 40))
    # Equal vectors: the first of them comes first.
    vectors[[7, 20]] = queries[0]
    expected = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :3]
    assert expected[0, :2].tolist() == [7, 20]
    for size in (1, 6, 40):
        nearest = Nearest(queries, 3)
        for start in range(0, 40, size):
            places = np.arange(start, min(start + size, 40))
            nearest.add(vectors[places], places + 100)
        assert (nearest.places == expected + 100).all()


def test_zeros_have_no_direction():
    assert unit_length(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]
