"""What is said if the memory does not suffice for a training step."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.system.errors import PipelineError
from pipeline.training.enough_memory import enough_memory


def run_out_of_memory() -> None:
    """Fail as TensorFlow does if it can't allocate a tensor."""

    def fail(batch: np.ndarray) -> np.ndarray:
        raise MemoryError(f"OOM when allocating tensor with shape{list(batch.shape)}")

    tf.function(lambda: tf.numpy_function(fail, [tf.zeros((32, 7))], tf.float32))()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["finetune.batch_size=32"],
            r"with 32 images .*OOM.*Set finetune\.batch_size=16 finetune\.accumulate=2, which",
        ),
        (["finetune.batch_size=8", "finetune.accumulate=4"], r"finetune\.batch_size=4 finetune\.accumulate=8, which"),
    ],
)
def test_it_names_settings_with_the_same_number_of_images_for_an_update(configure, overrides, expected):
    with pytest.raises(PipelineError, match=expected) as raised, enough_memory(configure(*overrides).finetune):
        run_out_of_memory()
    assert len(str(raised.value).split()) <= 60


def test_it_names_the_phase(configure):
    with pytest.raises(PipelineError, match=r"Set train\.batch_size="), enough_memory(configure().train):
        run_out_of_memory()


def test_a_single_image_that_is_too_large_leaves_no_smaller_batch(configure):
    with pytest.raises(PipelineError) as raised, enough_memory(configure("train.batch_size=1").train):
        run_out_of_memory()
    assert "accumulate" not in str(raised.value)
