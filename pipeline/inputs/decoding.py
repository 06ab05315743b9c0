"""From a file's bytes to pixels: the one way that every stage and every prediction takes."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

# The limit is the caller's (`dataset.max_pixels`), and one for all; Pillow's own remarks on some images and refuses others.
Image.MAX_IMAGE_PIXELS = None

SAFE_PIXELS = 89_478_485
"""Where Pillow begins to warn of decompression bombs: the limit for what comes from anyone, whom no configuration knows."""

# EXIF tag of the turn and mirroring that a camera recorded, and what undoes it.
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
    """These bytes are no image that can be shown; says why."""


class TooLargeError(UndecodableError):
    """More pixels than the caller allows."""


@dataclass(frozen=True)
class Decoded:
    """An image as a person sees it."""

    image: Image.Image
    """RGB, upright, first frame."""
    format: str
    """Pillow's name of the file format, such as JPEG."""
    orientation: int
    """The EXIF orientation that was undone: 1 (upright) to 8."""


def decode(data: bytes, max_pixels: int | None = None) -> Decoded:
    """The image in `data`: upright, in RGB; transparency on white, 16 bits scaled to 8, the first frame of several.

    Args:
        data: the file's bytes.
        max_pixels: width times height at most, looked at before anything is decoded; None: any, for what has been checked before.

    Raises:
        UndecodableError: empty, cut off, damaged, too large, or no image at all.
    """
    if not data:
        raise UndecodableError("empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise TooLargeError(f"{image.width}x{image.height} are more than {max_pixels} pixels")
            if image.format == "EPS":
                # Pillow would have Ghostscript run it, on this machine, whoever sent it.
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
    """The image in `data` as the network sees it: uint8 RGB [size, size, 3], stretched to the square (bilinear, antialiased).

    Raises:
        UndecodableError: see `decode`.
    """
    return np.asarray(decode(data, max_pixels).image.resize((size, size), Image.Resampling.BILINEAR))


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where EXIF is missing, damaged, or says something else."""
    try:
        found = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # The pixels of an image with nonsense beside them are as good as any.
        return 1
    return found if found in _UNDO else 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UndecodableError("floating-point pixels, of which nobody knows what white is")
    if image.mode.startswith("I"):
        # Sixteen bits a pixel; Pillow's own conversion would clip them at 255.
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
