"""From a file's bytes to pixels: the one way that every stage and every prediction takes."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# EXIF tag of the turn and mirroring that a camera recorded.
_ORIENTATION = 0x0112


class UndecodableError(ValueError):
    """These bytes are no picture that can be shown; says why."""


@dataclass(frozen=True)
class Decoded:
    """A picture as a person sees it."""

    image: Image.Image
    """RGB, upright, first frame."""
    format: str
    """Pillow's name of the file format, such as JPEG."""
    orientation: int
    """The EXIF orientation that was undone: 1 (upright) to 8."""


def decode(data: bytes) -> Decoded:
    """The picture in `data`: upright, in RGB; transparency on white, 16 bits scaled to 8, the first frame of several.

    Raises:
        UndecodableError: empty, cut off, damaged, too large (`PIL.Image.MAX_IMAGE_PIXELS`), or no picture at all.
    """
    if not data:
        raise UndecodableError("empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise UndecodableError(f"{image.width}x{image.height} are more than {Image.MAX_IMAGE_PIXELS} pixels")
            kind, orientation = image.format or "unknown", image.getexif().get(_ORIENTATION, 1)
            image.load()
            return Decoded(_as_rgb(ImageOps.exif_transpose(image)), kind, int(orientation))
    except UndecodableError:
        raise
    except UnidentifiedImageError as error:
        # Pillow's own message holds an address in memory.
        raise UndecodableError("not a picture in a known format") from error
    except Exception as error:  # Damaged files raise nearly anything in Pillow's decoders.
        raise UndecodableError(f"damaged: {error or type(error).__name__}") from error


def pixels(data: bytes, size: int) -> np.ndarray:
    """The picture in `data` as the network sees it: uint8 RGB [size, size, 3], stretched to the square (bilinear, antialiased)."""
    return np.asarray(decode(data).image.resize((size, size), Image.Resampling.BILINEAR))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Sixteen bits a pixel; Pillow's own conversion would clip them at 255.
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image.convert("RGB")
