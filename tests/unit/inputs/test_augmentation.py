"""Augmentation stays within its strengths, and is drawn for each image by itself."""

import keras
import numpy as np
import pytest

from pipeline.config import AugmentConfig
from pipeline.config.compose import composed
from pipeline.config.size import size_of
from pipeline.config.validate import check
from pipeline.inputs.augmentation import Mixing, Variants, draw_variant, fixed_views, mixes, varies
from pipeline.inputs.augmentation_ops import OPERATIONS, apply_operation
from tests.support.augmentation import augmenting


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Nine noisy images of 32 pixels, smooth enough to be recognised when they are moved."""
    noise = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 3)).astype(np.uint8)
    return noise.repeat(4, axis=1).repeat(4, axis=2)


def first_variant(augment: AugmentConfig, images: np.ndarray) -> np.ndarray:
    return draw_variant(augment, len(images), size_of(*images.shape[1:3]), seed=1, number=1).apply(images)


def test_no_strength_is_the_image_itself(images):
    assert np.array_equal(first_variant(augmenting(), images), images)
    assert not varies(augmenting(mixup=1.0))
    assert not mixes(augmenting(horizontal_flip=True))


def test_a_mirrored_variant_is_the_mirror_image(images):
    seen = first_variant(augmenting(horizontal_flip=True), images)
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(seen, images, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(seen, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 9


def test_rotation_and_zoom_stay_within_their_ranges():
    rows = draw_variant(
        augmenting(rotation_degrees=30.0, zoom_in=0.25, zoom_out=0.1), 2000, 100, seed=1, number=1
    ).transforms
    scale = np.hypot(rows[:, 0], rows[:, 3]).astype(float)
    angle = np.degrees(np.arctan2(rows[:, 3], rows[:, 0]))
    assert 0.75 - 1e-6 <= scale.min() < 0.76
    assert 1.09 < scale.max() <= 1.1 + 1e-6
    assert 29 < np.abs(angle).max() <= 30.001
    centre = rows[:, [0, 1, 3, 4]].reshape(-1, 2, 2) @ np.array([49.5, 49.5]) + rows[:, [2, 5]]
    assert np.allclose(centre, 49.5, atol=1e-3)


def test_crops_keep_to_their_area_and_lie_inside():
    rows = draw_variant(augmenting(crop_area=0.5), 2000, 101, seed=1, number=1).transforms.astype(float)
    area = rows[:, 0] * rows[:, 4]
    assert 0.5 - 1e-6 <= area.min() < 0.52
    assert 0.9 < area.max() <= 1 + 1e-6
    corners = np.array([[0, 0], [100, 100]])
    inside = rows[:, [0, 4]][:, None] * corners + rows[:, [2, 5]][:, None]
    assert inside.min() >= -1
    assert inside.max() <= 101


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_change_each_image_by_itself(images, name):
    seen = first_variant(augmenting(**{name: 0.4}), images).astype(float)
    moves = np.abs(seen - images).mean(axis=(1, 2, 3))
    assert len(set(moves.round(3))) > 5
    assert 0 < moves.max() < 110


def test_erasing_makes_some_rectangles_grey(images):
    seen = first_variant(augmenting(erasing=0.5, erasing_area=0.4), images)
    areas = (seen != images).any(axis=3).mean(axis=(1, 2))
    assert (areas == 0).any()
    assert (areas > 0).any()
    assert areas.max() <= 0.45
    assert (seen[(seen != images).any(axis=3)] == 128).all()


@pytest.mark.parametrize("number", range(OPERATIONS.index("brightness"), len(OPERATIONS)), ids=lambda n: OPERATIONS[n])
def test_each_operation_does_something_to_those_that_drew_it(images, number):
    drawn = np.where(np.arange(9) < 4, number, 0)
    seen = apply_operation(keras.ops.cast(images // 2 + 20, "float32"), drawn, np.full(9, 0.7, np.float32))
    changed = np.abs(np.asarray(seen) - (images // 2 + 20)).mean(axis=(1, 2, 3))
    assert (changed[:4] > 1).all()
    assert (changed[4:] == 0).all()


def test_everything_together_is_repeatable_in_any_batch(images):
    strong = check(composed(["augment=strong"])).augment
    variants = Variants(strong, 9, 32, seed=3)
    together = variants[2].apply(images)
    some = np.array([7, 1, 4])
    assert np.array_equal(Variants(strong, 9, 32, seed=3)[2].select(some).apply(images[some]), together[some])
    assert not np.array_equal(variants[3].apply(images), together)


@pytest.mark.parametrize(("kind", "count"), [("none", 1), ("flip", 2), ("crops", 6), ("flip_crops", 12)])
def test_fixed_views(images, kind, count):
    views = fixed_views(kind, 32)
    assert len(views) == count
    assert views[0] is None
    seen = [view.select(np.zeros(9, int)).apply(images) for view in views[1:]]
    assert len({each.tobytes() for each in seen}) == count - 1
    if "flip" in kind:
        assert any(np.array_equal(each, images[:, :, ::-1]) for each in seen)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_mixes_labels_as_it_mixes_pixels(kind):
    import tensorflow as tf

    # Each image is as bright as its label says, so that its pixels tell the fraction of each.
    levels = np.arange(8) * 30
    images = np.broadcast_to(levels[:, None, None, None], (8, 16, 16, 3)).astype(np.uint8)
    mixing = Mixing(augmenting(**{kind: 1.0}), seed=1)

    def mixed(epoch: int):
        inputs = (tf.constant(images), tf.eye(8), tf.constant(epoch, tf.int64), tf.constant(0, tf.int64))
        return [each.numpy() for each in tf.function(mixing)(*inputs)]

    pixels, targets = mixed(0)
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), targets @ levels, atol=0.5)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert (targets.max(axis=1) < 1).any()
    assert np.array_equal(mixed(0)[0], pixels)
    assert not np.array_equal(mixed(1)[0], pixels)
    kinds = [len(np.unique(image)) for image in pixels]
    assert max(kinds) == (1 if kind == "mixup" else 2)


@pytest.mark.parametrize("strength", ["rotation_degrees=90", "zoom_in=0.4", "brightness=0.4", "random_operations=2"])
def test_each_variant_is_another_draw_of_every_operation(images, strength):
    augment = check(composed(["augment=none", f"augment.{strength}"])).augment
    variants = Variants(augment, 9, 32, seed=3)
    assert not np.array_equal(variants[1].apply(images), variants[2].apply(images))


@pytest.fixture(scope="module")
def wide(images) -> np.ndarray:
    """Nine images of 32 x 64 pixels, whose halves differ."""
    return np.concatenate([images, images[::-1]], axis=2)


def test_a_rectangle_is_flipped_and_turned_about_its_centre(wide):
    seen = first_variant(augmenting(horizontal_flip=True), wide)
    assert any(np.array_equal(a, b[:, ::-1]) for a, b in zip(seen, wide, strict=True))
    drawn = draw_variant(augmenting(rotation_degrees=180.0, zoom_in=0.2), 50, [32, 64], seed=1, number=1)
    rows = drawn.transforms.astype(float)
    linear = rows[:, [0, 1, 3, 4]].reshape(-1, 2, 2)
    # The centre stays, and shapes too: one scale for both sides.
    np.testing.assert_allclose(linear @ [31.5, 15.5] + rows[:, [2, 5]], np.tile([31.5, 15.5], (50, 1)), atol=1e-4)
    scales = np.linalg.norm(linear, axis=1)
    np.testing.assert_allclose(scales[:, 0], scales[:, 1], atol=1e-6)


def test_crops_of_a_rectangle_reach_all_of_it_and_lie_inside():
    rows = draw_variant(augmenting(crop_area=0.2), 5000, [51, 101], seed=1, number=1).transforms.astype(float)
    assert 0.2 - 1e-6 <= (rows[:, 0] * rows[:, 4]).min() < 0.21
    for scale, offset, last in ((0, 2, 100), (4, 5, 50)):
        ends = rows[:, [scale]] * [0, last] + rows[:, [offset]]
        assert -1 <= ends.min() < 0.03 * last
        assert 0.97 * last < ends.max() <= last + 1


def test_a_shift_is_a_fraction_of_each_side(wide):
    [moved] = np.nonzero([name.startswith("translate") for name in OPERATIONS])
    augment = augmenting(random_operations=1, random_strength=0.5)
    drawn = draw_variant(augment, 500, [32, 64], seed=1, number=1)
    for operation, place, side in ((moved[0], 2, 64), (moved[1], 5, 32)):
        here = drawn.operations[:, 0] == operation
        np.testing.assert_allclose(drawn.transforms[here, place], side * drawn.strengths[here, 0], atol=1e-4)


@pytest.mark.parametrize("size", [[32, 64], [64, 32]])
def test_erased_rectangles_reach_all_of_a_rectangle(size):
    boxes = draw_variant(augmenting(erasing=1.0, erasing_area=0.3), 2000, size, seed=1, number=1).boxes
    _, right, _, bottom = boxes.max(axis=0)
    assert 0.97 * size[1] < right <= size[1]
    assert 0.97 * size[0] < bottom <= size[0]


def test_erasing_and_colours_apply_to_a_rectangle(wide):
    seen = first_variant(augmenting(erasing=1.0, erasing_area=0.4), wide)
    assert seen.shape == wide.shape
    changed = (seen != wide).any(axis=3)
    assert (seen[changed] == 128).all()
    assert changed[:, :, 32:].any()
    everything = check(composed(["augment=strong", "augment.random_operations=2"])).augment
    assert first_variant(everything, wide).shape == wide.shape


def test_fixed_views_of_a_rectangle_show_its_corners(wide):
    views = fixed_views("flip_crops", [32, 64])
    seen = [view.select(np.zeros(9, int)).apply(wide) for view in views[1:]]
    assert np.array_equal(seen[5], wide[:, :, ::-1])
    lines = np.array([view.transforms[0] for view in views[2:6]])
    # Left and upper end of each corner, in input pixels: 7/8 of both sides, from the edges.
    ends = np.stack([lines[:, 2], lines[:, 5], lines[:, 2] + lines[:, 0] * 63, lines[:, 5] + lines[:, 4] * 31], axis=1)
    near = np.array([[0, 0, 55, 27], [8, 0, 63, 27], [0, 4, 55, 31], [8, 4, 63, 31]])
    np.testing.assert_allclose(ends, near, atol=0.51)


def test_rectangles_are_mixed_in_all_of_their_area():
    import tensorflow as tf

    levels = np.arange(8) * 30
    images = np.broadcast_to(levels[:, None, None, None], (8, 16, 48, 3)).astype(np.uint8)
    mixing, changed = tf.function(Mixing(augmenting(cutmix=1.0), seed=1)), np.zeros((16, 48), bool)
    for epoch in range(6):
        inputs = (tf.constant(images), tf.eye(8), tf.constant(epoch, tf.int64), tf.constant(0, tf.int64))
        pixels, targets = (each.numpy() for each in mixing(*inputs))
        np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), targets @ levels, atol=0.5)
        changed |= (pixels != images).any(axis=(0, 3))
    assert changed.mean() > 0.9
    assert changed[:, 16:].any(axis=0).all()
