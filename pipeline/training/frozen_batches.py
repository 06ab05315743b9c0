"""Batch size of the frozen part: chosen by the GPU's memory, and halved where the memory does not suffice."""

import logging

import tensorflow as tf

from pipeline.storage.cache import GIB
from pipeline.system.cuda import device_memory
from pipeline.system.errors import PipelineError

log = logging.getLogger(__name__)

_AUTO = "auto"
_LEAST, _LARGEST = 64, 512
_IMAGES_PER_GIB = 8


def frozen_batch_size(configured: int | str) -> int:
    """Return the batch size for `hardware.frozen_batch_size`, which auto leaves to the device's memory.

    The memory counts that a device has, not that is free, so that the same device always gives the same results.
    """
    if isinstance(configured, int):
        return configured
    memory = device_memory() if tf.config.list_physical_devices("GPU") else None
    return batch_size_for(memory)


def batch_size_for(memory: int | None) -> int:
    """Return the batch size for a device: 8 images per GiB as a power of two, from 64 to 512.

    Args:
        memory: Memory of the GPU in bytes; None for CPUs, on which larger batches are no faster.
    """
    images = _IMAGES_PER_GIB * round((memory or 0) / GIB)
    return min(_LARGEST, max(_LEAST, 2 ** (images.bit_length() - 1) if images else 0))


def halved(batch_size: int, error: tf.errors.ResourceExhaustedError) -> int:
    """Return the next smaller batch size after one for which the memory did not suffice.

    Raises:
        PipelineError: A single image was too large.
    """
    if batch_size == 1:
        raise PipelineError(
            "The device's memory does not suffice for one image in the frozen part "
            f"({error.message.splitlines()[0][:120]}); use a smaller image_size or backbone, or end other processes"
        ) from error
    log.warning(
        "The device's memory does not suffice for %d images in the frozen part; starting again with %d. To start there, "
        "set hardware.frozen_batch_size=%d", batch_size, batch_size // 2, batch_size // 2,
    )  # fmt: skip
    return batch_size // 2
