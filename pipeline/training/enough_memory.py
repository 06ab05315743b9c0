"""Message about a memory that does not suffice for a training step."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from pipeline.config import FinetuneConfig, PhaseConfig
from pipeline.system.errors import PipelineError


@contextmanager
def enough_memory(phase: PhaseConfig) -> Iterator[None]:
    """Turn TensorFlow's error about the memory into one that says what to set.

    Unlike the frozen part's, this batch size is not halved: it decides the result, so that it is the user's choice.

    Raises:
        PipelineError: The memory does not suffice for a training step in the block.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        name, size = "finetune" if isinstance(phase, FinetuneConfig) else "train", phase.batch_size
        half = max(1, size // 2)
        accumulate = f" {name}.accumulate={2 * phase.accumulate}" if size > 1 else ""
        raise PipelineError(
            f"The device's memory does not suffice for a training step with {size} images "
            f"({error.message.splitlines()[0][:120]}). Set {name}.batch_size={half}{accumulate}, which takes as many "
            "images for each update of the weights; or a smaller image_size or backbone; or end other processes on the "
            "device"
        ) from error
