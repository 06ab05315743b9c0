"""Which images come when, in which variant: a function of seed and epoch."""

import gc
import hashlib
import threading
import time
import weakref

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.config.image import Decoding
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.batches import ImageInputs, Labels, balanced, batches, in_order, shuffled
from pipeline.inputs.images import DecodedImages
from pipeline.storage.cache import Cache
from pipeline.system.errors import PipelineError
from tests.support.augmentation import augmenting

MOVING = augmenting(horizontal_flip=True, rotation_degrees=30.0, zoom_in=0.2, zoom_out=0.2)


def rows(folder, names):
    sha256 = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    return pd.DataFrame({"path": names, "sha256": sha256})


@pytest.fixture
def some(images, tmp_path) -> DecodedImages:
    chosen = rows(images, [f"red/{number:03}.png" for number in range(7)])
    return DecodedImages(images, chosen, Decoding(32), Cache(tmp_path / "cache"), budget_gib=1.0, title="test")


def plain(images: DecodedImages) -> ImageInputs:
    return ImageInputs(images, np.arange(len(images)), [None])


def moved(images: DecodedImages, augment: AugmentConfig, seed: int) -> ImageInputs:
    return ImageInputs(images, np.arange(len(images)), Variants(augment, len(images), images.size, seed))


def test_images_decoded_on_each_use_equal_cached_ones(some, images, tmp_path, caplog):
    chosen = rows(images, [f"red/{number:03}.png" for number in range(7)])
    uncached = DecodedImages(images, chosen, Decoding(32), Cache(tmp_path / "cache"), budget_gib=0.0, title="test")
    assert "7 images need 0.0 GiB, but hardware.image_cache_gib is 0" in caplog.text
    indices = np.array([5, 0, 5])
    assert np.array_equal(some.take(indices), uncached.take(indices))


def test_images_are_decoded_once(some, images, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.inputs.images.pixels", None)
    chosen = rows(images, [f"red/{number:03}.png" for number in range(7)])
    again = DecodedImages(images, chosen, Decoding(32), Cache(tmp_path / "cache"), budget_gib=1.0, title="test")
    assert np.array_equal(again.take(np.arange(7)), some.take(np.arange(7)))


def test_an_image_that_is_missing_or_changed_is_named(images, tmp_path):
    gone = pd.DataFrame({"path": ["gone.png"], "sha256": [""]})
    with pytest.raises(PipelineError, match=r"gone\.png can't be read any more .* run prepare again"):
        DecodedImages(tmp_path, gone, Decoding(32), Cache(tmp_path / "cache"), budget_gib=1.0, title="test")
    changed = pd.DataFrame({"path": ["red/000.png"], "sha256": ["0" * 64]})
    with pytest.raises(PipelineError, match=r"red/000\.png has changed since .* run prepare again"):
        DecodedImages(images, changed, Decoding(32), Cache(tmp_path / "cache"), budget_gib=1.0, title="test")


def test_variant_0_is_the_image_itself(some):
    everything = np.arange(7)
    assert np.array_equal(moved(some, MOVING, seed=1).take(everything, np.zeros(7, int)), some.take(everything))


def test_variants_may_be_mixed_in_a_batch(some):
    inputs, everything = moved(some, MOVING, seed=1), np.arange(7)
    variants = np.array([0, 1, 2, 0, 1, 2, 0])
    mixed = inputs.take(everything, variants)
    for number in range(3):
        here = variants == number
        assert np.array_equal(mixed[here], inputs.take(everything, np.full(7, number))[here])


def test_a_variant_is_a_function_of_seed_and_index(some):
    inputs = moved(some, MOVING, seed=1)
    first = inputs.take(np.arange(7), np.full(7, 2))
    # In another batch and another order: the same pixels.
    again = moved(some, MOVING, seed=1).take(np.array([6, 3]), np.array([2, 2]))
    assert np.array_equal(again, first[[6, 3]])
    assert not np.array_equal(moved(some, MOVING, seed=2).take(np.arange(7), np.full(7, 2)), first)
    assert not np.array_equal(inputs.take(np.arange(7), np.full(7, 1)), first)


def test_an_epoch_has_each_image_once_in_another_variant_than_the_last():
    plan = shuffled(50, variants=3, seed=7)
    seen = []
    for epoch in range(3):
        order, variants = plan(epoch)
        assert sorted(order) == list(range(50))
        seen.append(variants[np.argsort(order)])
    assert (np.sort(np.array(seen), axis=0).T == [0, 1, 2]).all()
    assert not np.array_equal(plan(0)[0], plan(1)[0])
    assert np.array_equal(shuffled(50, 3, 7)(2)[0], plan(2)[0])


def test_with_endless_variants_each_epoch_has_new_ones():
    assert {tuple(np.unique(shuffled(50, None, 7)(epoch)[1])) for epoch in range(3)} == {(1,), (2,), (3,)}
    labels = np.repeat([0, 1], [40, 10])
    order, variants = balanced(labels, None, 7)(4)
    rare = order >= 40
    assert set(variants[~rare]) == {5}
    # Those that come several times in an epoch come in several variants.
    assert len({*zip(order[rare], variants[rare], strict=True)}) == rare.sum()


def test_labels_are_smoothed(some):
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    softened = batches(plain(some), in_order(7), 4, labels=Labels(labels, 3, smoothing=0.3))
    [(pixels, targets), _] = softened.as_numpy_iterator()
    assert np.array_equal(pixels, some.take(np.arange(4)))
    np.testing.assert_allclose(targets, np.eye(3)[labels[:4]] * 0.7 + 0.1, atol=1e-6)


def test_batches_carry_the_right_labels_and_never_span_epochs(some):
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    data = batches(plain(some), shuffled(7, 1, seed=4), 3, epochs=range(2, 4), labels=Labels(labels, 3))
    assert data.cardinality() == 6
    sizes, position = [], 0
    orders = np.concatenate([shuffled(7, 1, seed=4)(epoch)[0] for epoch in (2, 3)])
    for pixels, targets in data.as_numpy_iterator():
        indices = orders[position : position + len(pixels)]
        assert np.array_equal(pixels, some.take(indices))
        assert np.array_equal(targets.argmax(axis=1), labels[indices])
        position += len(pixels)
        sizes.append(len(pixels))
    assert sizes == [3, 3, 1, 3, 3, 1]


def test_in_order(some):
    [pixels] = batches(plain(some), in_order(7), 10).as_numpy_iterator()
    assert np.array_equal(pixels, some.take(np.arange(7)))


UNEQUAL = np.repeat([0, 1, 2], [90, 9, 1])


def test_balanced_epochs_have_each_class_as_often():
    plan = balanced(UNEQUAL, variants=5, seed=1)
    order, variants = plan(0)
    assert len(order) == len(UNEQUAL)
    assert np.bincount(UNEQUAL[order]).tolist() in ([34, 33, 33], [33, 34, 33], [33, 33, 34])
    # The only image of the last class comes in all of its variants.
    assert set(variants[order == 99]) == set(range(5))
    assert len(set(order[UNEQUAL[order] == 0])) == (UNEQUAL[order] == 0).sum()


def test_balanced_epochs_are_a_function_of_the_seed_and_differ():
    plan, again = balanced(UNEQUAL, 1, 1), balanced(UNEQUAL, 1, 1)
    assert np.array_equal(plan(3)[0], again(3)[0])
    assert not np.array_equal(plan(3)[0], plan(4)[0])
    assert not np.array_equal(plan(3)[0], balanced(UNEQUAL, 1, 2)(3)[0])
    seen = np.unique(np.concatenate([plan(epoch)[0] for epoch in range(20)]))
    assert len(seen) == 100


class Together:
    """Inputs of which a batch is loaded only while another one is."""

    shape, dtype = (1,), np.dtype(np.int64)

    def __init__(self):
        self._two = threading.Barrier(2, timeout=60)

    def __len__(self) -> int:
        return 8

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        self._two.wait()
        return indices[:, None].astype(np.int64)


def test_batches_are_loaded_at_the_same_time_and_come_in_order():
    tf.config.experimental.enable_op_determinism()
    loaded = batches(Together(), in_order(8), 2, epochs=range(2)).as_numpy_iterator()
    assert np.concatenate(list(loaded)).ravel().tolist() == [*range(8), *range(8)]


def test_an_iteration_that_was_given_up_does_not_change_the_next(some):
    data, order = batches(plain(some), shuffled(7, 1, seed=4), 2), shuffled(7, 1, seed=4)(0)[0]
    for _ in range(3):
        assert np.array_equal(next(data.as_numpy_iterator()), some.take(order[:2]))
    assert np.array_equal(np.concatenate(list(data.as_numpy_iterator())), some.take(order))


def test_what_a_given_up_data_set_has_read_is_freed_with_it(some):
    inputs = plain(some)
    data = batches(inputs, in_order(7), 1)
    iterator = iter(data)
    next(iterator)
    known = weakref.ref(inputs)
    del inputs, data, iterator
    deadline = time.monotonic() + 60
    while known() is not None and time.monotonic() < deadline:
        # Threads may still load a batch.
        gc.collect()
        time.sleep(0.05)
    assert known() is None


class Gone(Together):
    """Inputs that can't be loaded."""

    def take(self, indices: np.ndarray, variants: np.ndarray) -> np.ndarray:
        raise PipelineError("red/000.png can't be read any more")


def test_an_error_of_a_thread_is_raised_where_its_batch_is_used():
    with pytest.raises(tf.errors.OpError, match=r"red/000\.png can't be read any more"):
        next(batches(Gone(), in_order(8), 2).as_numpy_iterator())
