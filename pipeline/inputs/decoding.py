"""Decoding of image files to pixels, the same for every stage and every prediction."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

# The limit is `dataset.max_pixels`, for all images; Pillow's own warns of some and refuses others.
Image.MAX_IMAGE_PIXELS = None

SAFE_PIXELS = 89_478_485
"""Limit for images from unknown sources: the size from which Pillow warns of decompression bombs."""

# EXIF tag of the rotation and mirroring that a camera recorded, and the transposition that undoes each.
_ORIENTATION = 0x0112
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UndecodableError(ValueError):
    """The bytes are not an image that can be decoded; the message is the reason."""


class TooLargeError(UndecodableError):
    """More pixels than the caller allows."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image, as a person sees it."""

    image: Image.Image
    """RGB, upright, first frame."""
    format: str
    """File format, by Pillow's name, such as JPEG."""
    orientation: int
    """The EXIF orientation that was undone: 1 (upright) to 8."""


def decode(data: bytes, max_pixels: int | None = None) -> Decoded:
    """Decode an image: upright, RGB, transparency on white, 16 bits scaled to 8, the first frame of several.

    Args:
        data: the file's bytes.
        max_pixels: largest width times height, checked before decoding; None: no limit, for images checked before.

    Raises:
        UndecodableError: empty, truncated, damaged, too large, or not an image.
    """
    if not data:
        raise UndecodableError("empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise TooLargeError(f"{image.width}x{image.height} are more than {max_pixels} pixels")
            if image.format == "EPS":
                # Pillow would run it in Ghostscript.
                raise UndecodableError("PostScript, which is a program that draws; it is not run")
            kind, orientation = image.format or "unknown", _orientation(image)
            image.load()
            upright = image.transpose(_UNDO[orientation]) if orientation in _UNDO else image
            return Decoded(_as_rgb(upright), kind, orientation)
    except UndecodableError:
        raise
    except UnidentifiedImageError as error:
        # Pillow's own message holds an address in memory.
        raise UndecodableError("not an image in a known format") from error
    except Exception as error:  # Damaged files raise nearly anything in Pillow's decoders.
        raise UndecodableError(f"damaged: {error or type(error).__name__}") from error


def pixels(data: bytes, size: int, max_pixels: int | None = None) -> np.ndarray:
    """Decode an image to uint8 RGB [size, size, 3], resized to the square (bilinear, antialiased).

    Raises:
        UndecodableError: see `decode`.
    """
    return np.asarray(decode(data, max_pixels).image.resize((size, size), Image.Resampling.BILINEAR))


def _orientation(image: Image.Image) -> int:
    """Return the orientation, 1 to 8; 1 where EXIF is missing, damaged or invalid."""
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Damaged EXIF says nothing about the pixels.
        return 1
    return orientation if orientation in _UNDO else 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UndecodableError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        # 16 bits per pixel, which Pillow's own conversion would clip at 255.
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
