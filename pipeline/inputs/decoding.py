"""Decoding of image files to pixels, the same for every stage and every prediction."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

# Pillow's own limit is disabled, since `dataset.max_pixels` limits all images.
Image.MAX_IMAGE_PIXELS = None

SAFE_PIXELS = 89_478_485
"""Largest number of pixels of an image from an unknown source; above it, Pillow warns of a decompression bomb."""

# EXIF tag of an image's orientation, and the transposition that undoes each orientation.
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
    """Error for bytes that can't be decoded as an image; the message is the reason."""


class TooLargeError(UndecodableError):
    """Error for an image with more pixels than the caller allows."""


@dataclass(frozen=True)
class Decoded:
    """Decoded image, with properties of its file."""

    image: Image.Image
    """First frame of the image, upright, in RGB."""
    format: str
    """Pillow's name of the file format, such as JPEG."""
    orientation: int
    """EXIF orientation that was undone, from 1 (upright) to 8."""


def decode(data: bytes, max_pixels: int | None = None) -> Decoded:
    """Decode the first frame of an image, upright and in RGB.

    Transparency is replaced by a white background, and 16 bits per channel are scaled to 8.

    Args:
        data: Bytes of the file.
        max_pixels: Largest width times height, checked before decoding; None for images that were checked earlier.

    Raises:
        UndecodableError: The data is empty, truncated, damaged, too large, or not an image.
    """
    if not data:
        raise UndecodableError("empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise TooLargeError(f"{image.width}x{image.height} are more than {max_pixels} pixels")
            if image.format == "EPS":
                # Pillow would run the file in Ghostscript.
                raise UndecodableError("PostScript, which is not decoded because it is a program")
            kind, orientation = image.format or "unknown", _orientation(image)
            image.load()
            upright = image.transpose(_UNDO[orientation]) if orientation in _UNDO else image
            return Decoded(_as_rgb(upright), kind, orientation)
    except UndecodableError:
        raise
    except UnidentifiedImageError as error:
        # Pillow's own message contains a memory address.
        raise UndecodableError("not an image in a known format") from error
    except Exception as error:  # Damaged files raise nearly anything in Pillow's decoders.
        raise UndecodableError(f"damaged: {error or type(error).__name__}") from error


def pixels(data: bytes, size: int, max_pixels: int | None = None) -> np.ndarray:
    """Decode an image and resize it to a square with bilinear, antialiased interpolation.

    Args:
        data: Bytes of the file.
        size: Side of the square in pixels.
        max_pixels: See `decode`.

    Returns:
        RGB pixels, uint8 [size, size, 3].

    Raises:
        UndecodableError: See `decode`.
    """
    return np.asarray(decode(data, max_pixels).image.resize((size, size), Image.Resampling.BILINEAR))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, from 1 to 8; 1 if EXIF is missing, damaged or invalid."""
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # The pixels may be intact even if EXIF is damaged.
        return 1
    return orientation if orientation in _UNDO else 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UndecodableError("floating-point pixels are not supported, since their range is unknown")
    if image.mode.startswith("I"):
        # 16 bits per pixel, which Pillow's own conversion would clip at 255.
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
