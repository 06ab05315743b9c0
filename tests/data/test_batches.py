"""Which pictures come when, in which view: a function of seed and epoch."""

import numpy as np
import pytest

from pipeline.config import AugmentConfig
from pipeline.data.batches import PictureInputs, batches, in_order, shuffled
from pipeline.data.pictures import Pictures
from pipeline.data.views import apply_transforms, view_transforms
from pipeline.errors import PipelineError

MOVING = AugmentConfig("light", 4, True, 30.0, 0.2)


@pytest.fixture
def some(pictures) -> Pictures:
    return Pictures(pictures, [f"red/{number:03}.png" for number in range(7)], 32, 1.0, "test")


def test_streamed_pictures_equal_kept_ones(some, pictures):
    streamed = Pictures(pictures, [f"red/{number:03}.png" for number in range(7)], 32, 0.0, "test")
    wanted = np.array([5, 0, 5])
    assert np.array_equal(some[wanted], streamed[wanted])


def test_a_picture_that_is_gone_is_named(tmp_path):
    with pytest.raises(PipelineError, match=r"gone\.png could be read when .* run prepare again"):
        Pictures(tmp_path, ["gone.png"], 32, 1.0, "test")


def test_the_plain_view_is_the_picture_itself(some):
    plain = PictureInputs(some, MOVING, seed=1, views=3)
    everything = np.arange(7)
    assert np.array_equal(plain.take(everything, np.zeros(7, int)), some[everything])
    unmoved = apply_transforms(some[everything], view_transforms(MOVING, 7, 32, 1, 0))
    assert np.array_equal(unmoved, some[everything])


def test_a_view_is_a_fixed_function_of_seed_and_place(some):
    inputs = PictureInputs(some, MOVING, seed=1, views=5)
    first = inputs.take(np.arange(7), np.full(7, 2))
    # In another batch, another order, another number of views: the same pixels.
    again = PictureInputs(some, MOVING, seed=1, views=3).take(np.array([6, 3]), np.array([2, 2]))
    assert np.array_equal(again, first[[6, 3]])
    assert not np.array_equal(PictureInputs(some, MOVING, seed=2, views=3).take(np.arange(7), np.full(7, 2)), first)
    assert not np.array_equal(inputs.take(np.arange(7), np.full(7, 1)), first)


def test_a_mirrored_view_is_the_mirror_image(some):
    mirroring = AugmentConfig("flip", 1, True, 0.0, 0.0)
    inputs = PictureInputs(some, mirroring, seed=1, views=2)
    moved, plain = inputs.take(np.arange(7), np.ones(7, int)), some[np.arange(7)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(moved, plain, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(moved, plain, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 7


def test_rotation_and_zoom_stay_within_their_ranges():
    rows = view_transforms(MOVING, 2000, 100, 1, 1).astype(float)
    scale = np.hypot(rows[:, 0], rows[:, 3])
    angle = np.degrees(np.arctan2(rows[:, 3], np.abs(rows[:, 0])))
    assert 1 / 1.2 - 1e-6 <= scale.min() < 0.85
    assert 1.23 < scale.max() <= 1 / 0.8 + 1e-6
    assert 29 < np.abs(angle).max() <= 30.001
    centre = rows[:, [0, 1, 3, 4]].reshape(-1, 2, 2) @ np.array([49.5, 49.5]) + rows[:, [2, 5]]
    assert np.allclose(centre, 49.5, atol=1e-3)


def test_an_epoch_shows_each_picture_once_and_in_another_view_than_the_last():
    plan = shuffled(50, views=3, seed=7)
    seen = []
    for epoch in range(3):
        order, views = plan(epoch)
        assert sorted(order) == list(range(50))
        seen.append(views[np.argsort(order)])
    assert (np.sort(np.array(seen), axis=0).T == [0, 1, 2]).all()
    assert not np.array_equal(plan(0)[0], plan(1)[0])
    assert np.array_equal(shuffled(50, 3, 7)(2)[0], plan(2)[0])


def test_batches_carry_the_right_labels_and_never_span_epochs(some):
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    data = batches(PictureInputs(some, MOVING, 1, 1), labels, 3, 3, shuffled(7, 1, seed=4), range(2, 4))
    assert data.cardinality() == 6
    sizes, position = [], 0
    orders = np.concatenate([shuffled(7, 1, seed=4)(epoch)[0] for epoch in (2, 3)])
    for pixels, targets in data.as_numpy_iterator():
        indices = orders[position : position + len(pixels)]
        assert np.array_equal(pixels, some[indices])
        assert np.array_equal(targets.argmax(axis=1), labels[indices])
        position += len(pixels)
        sizes.append(len(pixels))
    assert sizes == [3, 3, 1, 3, 3, 1]


def test_in_order(some):
    [(pixels, _)] = batches(PictureInputs(some, MOVING, 1, 1), np.zeros(7, int), 1, 10, in_order(7)).as_numpy_iterator()
    assert np.array_equal(pixels, some[np.arange(7)])
