"""Perceptual hashes: 256 bits of an image that stay nearly the same when it is resized, recompressed or slightly cropped."""

import numpy as np
from PIL import Image
from scipy.fft import dct

SIDE = 64
"""An image is looked at in SIDE x SIDE levels of grey."""
_FREQUENCIES = 16
HASH_BYTES = _FREQUENCIES**2 // 8
# An image's lowest frequencies, of the cosine transform of type II, are a product of matrices.
_WAVES = dct(np.eye(SIDE), axis=0)[:_FREQUENCIES]


def look(image: Image.Image, colour_side: int) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of an RGB image at a glance: its grey, uint8 [SIDE, SIDE], and its colours, uint8 [colour_side, colour_side, 3]."""
    factor = max(1, min(image.size) // SIDE)
    # Averaging whole pixels is fast, and blurs nothing that the hash looks at; the box keeps the last, partial ones in their place.
    small, box = image.reduce(factor), (0, 0, image.width / factor, image.height / factor)
    grey = small.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    colours = small.resize((colour_side, colour_side), Image.Resampling.NEAREST)
    return np.asarray(grey), np.asarray(colours)


def hashes(greys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pHash of each image, as `imagehash.phash(..., hash_size=16)` computes it, for many at a time.

    A bit says whether a low frequency of the cosine transform is above the median of them all (C. Zauner, Implementation and Benchmarking
    of Perceptual Image Hash Functions, 2010).

    Args:
        greys: uint8 [n, SIDE, SIDE].

    Returns:
        (bits, mirrored, detail): the hash, uint8 [n, HASH_BYTES]; that of the mirrored image; and float64 [n], the median amplitude of the
        hashed frequencies in levels of 255: near the 0.2 of rounding to whole levels the bits mean nothing.
    """
    frequencies = _WAVES @ greys @ _WAVES.T
    detail = np.median(np.abs(frequencies), axis=(1, 2)) / (2 * SIDE)
    # Mirrored, the waves that are odd from left to right change their sign.
    odd = np.where(np.arange(_FREQUENCIES) % 2, -1.0, 1.0)
    return _bits(frequencies), _bits(frequencies * odd), detail


def _bits(frequencies: np.ndarray) -> np.ndarray:
    above = frequencies > np.median(frequencies, axis=(1, 2), keepdims=True)
    return np.packbits(above.reshape(len(above), -1), axis=1)
