"""Perceptual hashes: 256 bits that hardly change when an image is resized, recompressed or slightly cropped."""

import numpy as np
from PIL import Image
from scipy.fft import dct

SIDE = 64
"""Images are hashed at SIDE x SIDE grey levels."""
_FREQUENCIES = 16
HASH_BYTES = _FREQUENCIES**2 // 8
"""Bytes of a hash."""
# The lowest frequencies of an image's cosine transform (type II) are a product with this matrix on both sides.
_WAVES = dct(np.eye(SIDE), axis=0)[:_FREQUENCIES]


def downscale(image: Image.Image, colour_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Downscale an RGB image for its hash and its statistics.

    Returns:
        (grey, colours): uint8 [SIDE, SIDE], and uint8 [colour_side, colour_side, 3].
    """
    factor = max(1, min(image.size) // SIDE)
    # Averaging whole pixels is fast, and does not change the hashed frequencies. The box keeps the last, partial pixels
    # in their place.
    small, box = image.reduce(factor), (0, 0, image.width / factor, image.height / factor)
    grey = small.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    colours = small.resize((colour_side, colour_side), Image.Resampling.NEAREST)
    return np.asarray(grey), np.asarray(colours)


def hashes(greys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the pHash of many images, as `imagehash.phash(..., hash_size=16)` does for one.

    A bit is set where a low frequency of the cosine transform is above the median of them all.

    Args:
        greys: uint8 [n, SIDE, SIDE].

    Returns:
        (bits, mirrored, detail): the hash, uint8 [n, HASH_BYTES]; that of the mirrored image; and float64 [n], the
        median amplitude of the hashed frequencies in grey levels of 255. Bits are meaningless where it is near 0.2,
        the effect of rounding to integer levels.

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.
    """
    frequencies = _WAVES @ greys @ _WAVES.T
    detail = np.median(np.abs(frequencies), axis=(1, 2)) / (2 * SIDE)
    # Mirroring changes the sign of waves that are odd from left to right.
    odd = np.where(np.arange(_FREQUENCIES) % 2, -1.0, 1.0)
    return _bits(frequencies), _bits(frequencies * odd), detail


def _bits(frequencies: np.ndarray) -> np.ndarray:
    above = frequencies > np.median(frequencies, axis=(1, 2), keepdims=True)
    return np.packbits(above.reshape(len(above), -1), axis=1)
