"""Resizing of an image to a square, in one resampling: bilinear, which is antialiased in Pillow."""

from PIL import Image, ImageOps

from pipeline.config.image import Decoding

_FILTER = Image.Resampling.BILINEAR


def square(image: Image.Image, decoding: Decoding) -> Image.Image:
    """Resize an RGB image to the square that a decoding describes."""
    sides = (decoding.size, decoding.size)
    match decoding.resize:
        case "crop":
            return ImageOps.fit(image, sides, _FILTER)
        case "pad":
            return _padded(image, decoding)
        case _:
            return image.resize(sides, _FILTER)


def _padded(image: Image.Image, decoding: Decoding) -> Image.Image:
    size, longer = decoding.size, max(image.size)
    # ImageOps.pad would return an image without pixels if the shorter side came to less than half a pixel.
    width, height = (max(1, round(side * size / longer)) for side in image.size)
    filled = Image.new("RGB", (size, size), tuple(decoding.pad_value or ()))
    filled.paste(image.resize((width, height), _FILTER), ((size - width) // 2, (size - height) // 2))
    return filled
