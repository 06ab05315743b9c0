"""Pictures that anyone may send, to a server: many at once, and few bytes of which can be a gigabyte of pixels."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.data.decoding import SAFE_PIXELS, TooLargeError, pixels

TOGETHER = 25_000_000
"""Pixels of a picture that is decoded beside others; larger than what most cameras take."""

# One thread takes one after the other, and the same memory again: what a thread has freed others can't have.
_alone = ThreadPoolExecutor(1, "large-pictures")


def received(data: bytes, size: int) -> np.ndarray:
    """As `pipeline.data.decoding.pixels`, of at most SAFE_PIXELS; never two at a time of those with more than TOGETHER."""
    try:
        return pixels(data, size, TOGETHER)
    except TooLargeError:
        return _alone.submit(pixels, data, size, SAFE_PIXELS).result()
