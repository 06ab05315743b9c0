"""Section `image` of the configuration, and the decoding of images that follows from it and that models state."""

from dataclasses import dataclass
from typing import Any

from pipeline.config.limits import PAD_VALUE, one_of
from pipeline.config.size import Size, height_width

FULL_DEPTH = 16
"""Bits of the samples of 16-bit images that use their whole range."""
RESIZE = ("stretch", "crop", "pad")
"""Ways in which an image gets the size of the network's input."""


@dataclass(kw_only=True)
class ImageConfig:
    """Resizing of images to the network's input, the same in training, predictions and exports."""

    resize: str = one_of(*RESIZE)
    """Way in which an image gets `image_size`. stretch: height and width are scaled apart; all is visible, and shapes
    change. crop: the image is scaled to cover the size, and the centre is cut out; shapes stay, and two ends are lost.
    pad: it is scaled to fit inside, and the rest is filled; all is visible, and smaller. They are the same if the image
    has the proportions of `image_size`."""
    pad_value: Any = PAD_VALUE
    """Colour of the filled rest with `image.resize=pad`: a grey level, or red, green and blue."""


@dataclass(frozen=True)
class Decoding:
    """Decoding of a file to the pixels that a network takes.

    A model states it. The defaults mean what models of earlier versions do, which state less.
    """

    size: Size
    """Size of the pixels."""
    depth: int = FULL_DEPTH
    """Bits from which the samples of 16-bit files are scaled to 8 bits."""
    resize: str = RESIZE[0]
    """Way in which an image gets this size, one of `RESIZE`."""
    pad_value: list[int] | None = None
    """Red, green and blue of the filled rest; None if nothing is filled."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the pixels: height, width and 3."""
        return (*height_width(self.size), 3)

    @classmethod
    def of(cls, size: Size, image: ImageConfig, depth: int = FULL_DEPTH) -> "Decoding":
        """Return the decoding by the section `image` of a configuration; for the other arguments, see the fields."""
        value = image.pad_value
        colour = [value] * 3 if isinstance(value, int) else list(value)
        return cls(size, depth, image.resize, colour if image.resize == "pad" else None)
