"""Section `image` of the configuration, and the decoding of images that follows from it and that models state."""

from dataclasses import dataclass
from typing import Any

from pipeline.config.limits import PAD_VALUE, one_of

FULL_DEPTH = 16
"""Bits of the samples of 16-bit images that use their whole range."""
RESIZE = ("stretch", "crop", "pad")
"""Ways in which an image becomes a square."""


@dataclass(kw_only=True)
class ImageConfig:
    """Resizing of images to the network's square input, the same in training, predictions and exports."""

    resize: str = one_of(*RESIZE)
    """Way in which an image becomes a square. stretch: both sides get the size; all is visible, and shapes change.
    crop: the shorter side gets the size, and the centre is cut out; shapes stay, and the ends of the longer side are
    lost. pad: the longer side gets the size, and the rest is filled; all is visible, and smaller."""
    pad_value: Any = PAD_VALUE
    """Colour of the filled rest with `image.resize=pad`: a grey level, or red, green and blue."""


@dataclass(frozen=True)
class Decoding:
    """Decoding of a file to the pixels that a network takes.

    A model states it. The defaults mean what models of earlier versions do, which state less.
    """

    size: int
    """Side of the square in pixels."""
    depth: int = FULL_DEPTH
    """Bits from which the samples of 16-bit files are scaled to 8 bits."""
    resize: str = RESIZE[0]
    """Way in which an image becomes a square, one of `RESIZE`."""
    pad_value: list[int] | None = None
    """Red, green and blue of the filled rest; None if nothing is filled."""

    @classmethod
    def of(cls, size: int, image: ImageConfig, depth: int = FULL_DEPTH) -> "Decoding":
        """Return the decoding by the section `image` of a configuration; for the other arguments, see the fields."""
        value = image.pad_value
        colour = [value] * 3 if isinstance(value, int) else list(value)
        return cls(size, depth, image.resize, colour if image.resize == "pad" else None)
