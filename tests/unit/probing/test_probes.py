"""Out-of-fold predictions: no image is predicted from its own unit, and the penalty is chosen without it."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.probing.probes import _STRENGTHS, linear_probe, nearest_neighbours
from pipeline.system.errors import PipelineError
from pipeline.training.cross_validation import make_folds

PROBES = [linear_probe, nearest_neighbours]


def classes_apart(distance: float, count: int = 240, width: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes whose means are apart, and their labels."""
    draws = np.random.default_rng(1)
    labels = draws.integers(0, 3, count)
    features = draws.standard_normal((count, width)).astype(np.float32)
    features[:, :3] += distance * np.eye(3)[labels]
    return features, labels


@pytest.mark.parametrize("probe", PROBES)
def test_classes_that_are_apart_are_told_apart(probe):
    features, labels = classes_apart(8)
    predicted = probe(features.__getitem__, labels, make_folds(labels, np.arange(240), 1), 1)
    assert (predicted == labels).mean() > 0.98


@pytest.mark.parametrize("probe", PROBES)
def test_copies_of_an_image_do_not_vouch_for_its_label(probe):
    features, labels = classes_apart(0, width=400)
    features, labels, units = np.tile(features, (2, 1)), np.tile(labels, 2), np.tile(np.arange(240), 2)
    folds = make_folds(labels, units, 1)
    assert (folds[:240] == folds[240:]).all()
    assert (probe(features.__getitem__, labels, folds, 1) == labels).mean() < 0.5
    divided = make_folds(labels, np.arange(480), 1)
    assert (probe(features.__getitem__, labels, divided, 1) == labels).mean() > 0.6


def test_the_penalty_of_a_fold_is_chosen_by_two_other_folds():
    features, labels = classes_apart(1.5)
    folds = make_folds(labels, np.arange(240), 1)

    def predict(fold: int, strength: float, held_out: list[int]) -> np.ndarray:
        training = ~np.isin(folds, held_out)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        return model.fit(features[training], labels[training]).predict(features[folds == fold])

    expected = np.empty(240, int)
    chosen = []
    for fold in range(5):
        hits = [
            sum(
                (predict(other, strength, [fold, other]) == labels[folds == other]).sum()
                for other in ((fold + 1) % 5, (fold - 1) % 5)
            )
            for strength in _STRENGTHS
        ]
        chosen.append(_STRENGTHS[int(np.argmax(hits))])
        expected[folds == fold] = predict(fold, chosen[-1], [fold])
    found = linear_probe(features.__getitem__, labels, folds, 1)
    assert len(set(chosen)) > 1
    assert (found == expected).mean() > 0.99


def test_folds_have_all_classes_and_are_fewer_for_few_images():
    _, labels = classes_apart(1)
    folds = make_folds(labels, np.arange(240), 1)
    assert sorted(np.unique(folds)) == [0, 1, 2, 3, 4]
    assert all(set(labels[folds == fold]) == {0, 1, 2} for fold in range(5))
    few = np.repeat([0, 1], [4, 2])
    assert sorted(np.unique(make_folds(few, np.arange(6), 1))) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("labels", "units"),
    [([0, 0, 0, 0], [1, 2, 3, 4]), ([0, 0, 1, 1], [1, 2, 3, 4]), ([0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2])],
)
def test_too_few_images_or_groups_are_an_error(labels, units):
    with pytest.raises(PipelineError, match="Cross-validation needs at least two classes"):
        make_folds(np.array(labels), np.array(units), 1)


def test_a_class_of_one_image_is_never_predicted():
    features, labels = classes_apart(8)
    labels[0] = 3
    folds = make_folds(labels, np.arange(240), 1)
    for probe in PROBES:
        assert probe(features.__getitem__, labels, folds, 1)[0] != 3


def test_a_class_that_is_missing_outside_two_folds_is_not_predicted_there():
    labels = np.array([0] * 9 + [1])
    features = np.random.default_rng(1).standard_normal((10, 4)).astype(np.float32)
    folds = np.arange(10) % 3
    assert (linear_probe(features.__getitem__, labels, folds, 1) == [0] * 10).all()
