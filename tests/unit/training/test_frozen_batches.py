"""The batch size of the frozen part, and what happens where the memory does not suffice."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.models.parts import FrozenPart
from pipeline.system.errors import PipelineError
from pipeline.training.frozen_batches import batch_size_for, frozen_batch_size
from tests.support.training import context_of, data_of, places


@pytest.mark.parametrize(
    ("gib", "size"), [(None, 64), (4, 64), (7.8, 64), (15.7, 128), (23.6, 128), (39.4, 256), (79.1, 512), (140, 512)]
)
def test_a_device_with_more_memory_takes_more_images(gib, size):
    assert batch_size_for(None if gib is None else int(gib * 2**30)) == size


def test_on_a_cpu_auto_is_as_before_and_a_number_is_itself():
    assert frozen_batch_size("auto") == 64
    assert frozen_batch_size(7) == 7


@keras.saving.register_keras_serializable()
class Limited(keras.layers.Layer):
    """Mean of the pixels, with a memory that suffices for a number of images."""

    def __init__(self, limit: int, **options):
        super().__init__(**options)
        self.limit = limit
        self.factor = self.add_weight(shape=(1,), initializer="ones", name="factor")

    def get_config(self) -> dict:
        return super().get_config() | {"limit": self.limit}

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        def checked(batch: np.ndarray) -> np.ndarray:
            if len(batch) > self.limit:
                # TensorFlow turns it into a ResourceExhaustedError.
                raise MemoryError("OOM when allocating tensor")
            return batch

        return tf.ensure_shape(tf.numpy_function(checked, [inputs], inputs.dtype), inputs.shape) * self.factor


def part_with_memory_for(images: int) -> FrozenPart:
    """A frozen part that computes on at most `images` images at once."""
    keras.utils.set_random_seed(1)
    inputs, pixels = keras.Input((32, 32, 3)), keras.Input((32, 32, 3), dtype="uint8")
    outputs = keras.layers.Conv2D(4, 3, strides=8)(Limited(images)(inputs))
    preprocessing = keras.Model(pixels, keras.layers.Rescaling(1 / 255)(pixels))
    return FrozenPart(preprocessing, keras.Model(inputs, outputs), "float32", pooled=True)


def entries(config) -> list:
    return [each.holds for each in places(config).cache.listing() if each.holds["kind"] == "frozen"]


def test_the_whole_entry_is_computed_again_in_smaller_batches(configure, tmp_path, caplog):
    part, every = part_with_memory_for(20), np.arange(10)
    config = configure("hardware.precision=float32")
    context_of(config)
    halved = data_of(config).features.load(part, every).take(every, every * 0)

    small = configure("hardware.frozen_batch_size=16", f"cache_folder={tmp_path}/small")
    direct = data_of(small).features.load(part, every).take(every, every * 0)
    assert halved.tobytes() == direct.tobytes()
    # One batch size, which the entry names; none of the larger ones is left, nor an unfinished one.
    [entry], [expected] = entries(config), entries(small)
    assert entry["batch_size"] == 16
    assert {**entry, "made_by": ""} == {**expected, "made_by": ""}
    frozen = [file.name for file in (tmp_path / "cache").iterdir() if "frozen" in file.name and file.is_dir()]
    assert len(frozen) == 1
    assert [record.args for record in caplog.records if "starting again" in record.message] == [
        (64, 32, 32),
        (32, 16, 16),
    ]


def test_what_suffices_is_computed_at_once(configure, caplog):
    every = np.arange(10)
    config = configure("hardware.precision=float32")
    context_of(config)
    data_of(config).features.load(part_with_memory_for(64), every)
    assert [entry["batch_size"] for entry in entries(config)] == [64]
    assert "starting again" not in caplog.text


def test_an_image_that_is_too_large_alone_ends_with_what_to_do(configure):
    config = configure("hardware.frozen_batch_size=2")
    context_of(config)
    with pytest.raises(PipelineError, match=r"does not suffice for one image .*smaller image_size or backbone"):
        data_of(config).features.load(part_with_memory_for(0), np.arange(10))
