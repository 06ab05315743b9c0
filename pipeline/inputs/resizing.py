"""Resizing of an image to the network's input, in one resampling: bilinear, which is antialiased in Pillow."""

from PIL import Image, ImageOps

from pipeline.config.image import Decoding
from pipeline.config.size import height_width

_FILTER = Image.Resampling.BILINEAR


def resized(image: Image.Image, decoding: Decoding) -> Image.Image:
    """Return an RGB image in the size, and by the way, that a decoding describes."""
    height, width = height_width(decoding.size)
    match decoding.resize:
        case "crop":
            return ImageOps.fit(image, (width, height), _FILTER)
        case "pad":
            return _padded(image, decoding)
        case _:
            return image.resize((width, height), _FILTER)


def _padded(image: Image.Image, decoding: Decoding) -> Image.Image:
    height, width = height_width(decoding.size)
    # The side that fills the whole input, there and in the image.
    whole, own = (width, image.width) if image.width * height >= image.height * width else (height, image.height)
    # ImageOps.pad would return an image without pixels if the other side came to less than half a pixel.
    inner_width, inner_height = (max(1, round(side * whole / own)) for side in image.size)
    filled = Image.new("RGB", (width, height), tuple(decoding.pad_value or ()))
    place = ((width - inner_width) // 2, (height - inner_height) // 2)
    filled.paste(image.resize((inner_width, inner_height), _FILTER), place)
    return filled
