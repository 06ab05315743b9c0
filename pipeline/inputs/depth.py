"""Depth of 16-bit files: how many of the 16 bits of a sample are in use, and the scaling to 8 bits.

Cameras, scanners and microscopes store samples of 10, 12 or 14 bits in files of 16 bits. As 16 bits, they look nearly
black.
"""

import functools

import numpy as np
from PIL import Image

from pipeline.config.image import FULL_DEPTH
from pipeline.inputs.undecodable import UndecodableError

_DEPTHS = (8, 10, 12, 14, FULL_DEPTH)


def depth_in_use(samples: np.ndarray, stated: int | None = None) -> int:
    """Return the smallest of 8, 10, 12, 14 and 16 bits that holds all samples and the depth that the file states.

    Args:
        samples: Samples of a file, uint16.
        stated: Depth that the file states; None if it states none.
    """
    needed = max(int(samples.max()).bit_length(), stated or 0)
    return next(depth for depth in _DEPTHS if depth >= needed)


def eight_bit_image(samples: np.ndarray, depth: int | None, stated: int | None = None) -> tuple[Image.Image, int]:
    """Scale 16-bit samples to an image of 8 bits per channel.

    Args:
        samples: Grey levels or colours, with or without transparency as the last channel, uint16 [h, w, 1 to 4].
        depth: Bits from which the samples are scaled; None for the depth that is in use.
        stated: Depth that the file states; see `depth_in_use`.

    Returns:
        (image, in_use): Image of mode L, LA, RGB or RGBA, and the depth that is in use.

    Raises:
        UndecodableError: More than `depth` bits are in use.
    """
    channels = samples.shape[2]
    colours = samples[:, :, : channels - (channels in (2, 4))]
    in_use = depth_in_use(colours, stated)
    depth = depth or in_use
    if in_use > depth:
        raise UndecodableError(
            f"{in_use}-bit samples, but the training images have {depth} bits; scale the samples to {depth} bits"
        )
    parts = [_table(depth)[colours]]
    if channels > colours.shape[2]:
        opacity = samples[:, :, -1:]
        parts.append(_table(max(depth, depth_in_use(opacity)))[opacity])
    pixels = np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels), in_use


@functools.cache
def _table(depth: int) -> np.ndarray:
    """Return the 8-bit value of each 16-bit sample, uint8 [65536]."""
    return (np.arange(2**16) / ((2**depth - 1) / 255)).round().clip(0, 255).astype(np.uint8)
