"""Images that anyone may send to a server: decoded within limits of memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.inputs.decoding import SAFE_PIXELS, TooLargeError, pixels

CONCURRENT_PIXELS = 25_000_000
"""Pixels of the largest image that is decoded beside others: more than most cameras take."""

# One thread decodes large images in turn, in the same memory: what a thread has freed, others can't have.
_large_images = ThreadPoolExecutor(1, "large-images")


def decode_upload(data: bytes, size: int) -> np.ndarray:
    """Decode at most SAFE_PIXELS to uint8 RGB [size, size, 3]; images of more than CONCURRENT_PIXELS one at a time."""
    try:
        return pixels(data, size, CONCURRENT_PIXELS)
    except TooLargeError:
        return _large_images.submit(pixels, data, size, SAFE_PIXELS).result()
