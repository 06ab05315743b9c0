"""Decoding of image files to pixels, the same for every stage and every prediction."""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.config.image import FULL_DEPTH, Decoding
from pipeline.inputs import tiff
from pipeline.inputs.depth import eight_bit_image
from pipeline.inputs.icons import check_icon
from pipeline.inputs.png import SIGNATURE, Png
from pipeline.inputs.resizing import resized
from pipeline.inputs.undecodable import SAFE_PIXELS, TooLargeError, UndecodableError, check_size
from pipeline.storage.files import file_sha256
from pipeline.system.paths import CODE

__all__ = ["SAFE_PIXELS", "Decoded", "TooLargeError", "UndecodableError", "decode", "decoder_version", "pixels"]

# Pillow's own limit is disabled, since `dataset.max_pixels` limits all images.
Image.MAX_IMAGE_PIXELS = None

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
_MODULES = ("decoding", "depth", "icons", "png", "resizing", "tiff", "undecodable")
_HEIF_PACKAGE = "pillow-heif"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
# Formats whose samples Pillow scales to 16 bits from the depth that the file states.
_SCALED_BY_PILLOW = ("JPEG2000", "PPM")


@dataclass(frozen=True)
class Decoded:
    """Decoded image, with properties of its file."""

    image: Image.Image
    """First frame of the image, upright, in RGB."""
    format: str
    """Pillow's name of the file format, such as JPEG."""
    orientation: int
    """EXIF orientation that was undone, from 1 (upright) to 8."""
    depth: int | None
    """Bits that the samples of a 16-bit file use: 8, 10, 12, 14 or 16. None for other files."""


def decode(data: bytes, max_pixels: int | None = None, depth: int | None = None) -> Decoded:
    """Decode the first frame of an image, upright and in RGB.

    Transparency is replaced by a white background, and samples of 16-bit files are scaled to 8 bits.

    Args:
        data: Bytes of the file.
        max_pixels: Largest width times height, checked before decoding; None for images that were checked earlier.
        depth: Bits from which the samples of 16-bit files are scaled; None for those that the file uses.

    Raises:
        UndecodableError: The data is empty, truncated, damaged, too large, or not an image, fails its checksums, or
            uses more than `depth` bits.
    """
    if not data:
        raise UndecodableError("empty file")
    try:
        read: Callable[..., _Read] = _read_png if data.startswith(SIGNATURE) else _read_other
        found = read(data, max_pixels)
        image, in_use = found.pixels, None
        if isinstance(image, np.ndarray):
            image, in_use = eight_bit_image(image, depth, found.stated)
        upright = image.transpose(_UNDO[found.turned]) if found.turned in _UNDO else image
        return Decoded(_as_rgb(upright), found.format, found.orientation, in_use)
    except UndecodableError:
        raise
    except UnidentifiedImageError as error:
        # Pillow's own message contains a memory address.
        raise UndecodableError(_unknown(data)) from error
    except Exception as error:  # Damaged files raise nearly anything in Pillow's decoders.
        raise UndecodableError(f"damaged: {error or type(error).__name__}") from error


def pixels(data: bytes, decoding: Decoding, max_pixels: int | None = None) -> np.ndarray:
    """Decode an image and resize it; see `pipeline.inputs.resizing`.

    Args:
        data: Bytes of the file.
        decoding: Size, depth of 16-bit files, and how the image gets the size.
        max_pixels: See `decode`.

    Returns:
        RGB pixels, uint8 [h, w, 3].

    Raises:
        UndecodableError: See `decode`.
    """
    return np.asarray(resized(decode(data, max_pixels, decoding.depth).image, decoding))


@functools.cache
def decoder_version() -> str:
    """Return a text that identifies the decoding code and the versions of its packages."""
    code = (file_sha256(CODE / "pipeline" / "inputs" / f"{name}.py") for name in _MODULES)
    return " ".join([*code, "Pillow", version("Pillow"), _HEIF_PACKAGE, heif_version() or "none"])


def heif_version() -> str | None:
    """Return the version of the package that decodes HEIC, or None if it is not installed."""
    try:
        return version(_HEIF_PACKAGE)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class _Read:
    """Content of a file."""

    pixels: Image.Image | np.ndarray
    """Image of 8 bits per sample, or samples of a 16-bit file, uint16 [h, w, 1 to 4]."""
    format: str
    orientation: int
    """EXIF orientation of the file."""
    turned: int
    """EXIF orientation of the pixels; Pillow turns those of some formats itself."""
    stated: int | None = None
    """Depth that a 16-bit file states."""


def _read_png(data: bytes, max_pixels: int | None) -> _Read:
    png = Png(data)
    check_size(png.width, png.height, max_pixels)
    orientation = _orientation(png.metadata) if png.metadata else 1
    if png.bits < FULL_DEPTH:
        return _Read(_opened(png.file()), "PNG", orientation, orientation)
    if png.is_grey:
        samples = np.asarray(_opened(png.file())).astype(np.uint16)
    else:
        upper, lower = (np.asarray(_opened(half)) for half in png.halves())
        samples = upper.astype(np.uint16) << 8 | lower
    samples = samples.reshape(png.height, png.width, -1)
    if png.transparent is not None:
        opaque = (samples != png.transparent).any(axis=2, keepdims=True)
        samples = np.concatenate([samples, opaque * np.uint16(2**FULL_DEPTH - 1)], axis=2)
    return _Read(samples, "PNG", orientation, orientation, png.stated_depth)


def _opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def _read_other(data: bytes, max_pixels: int | None) -> _Read:
    check_icon(data, max_pixels)
    if _is_heif(data):
        _register_heif()
    with Image.open(io.BytesIO(data)) as image:
        check_size(image.width, image.height, max_pixels)
        if image.format == "EPS":
            # Pillow would run the file in Ghostscript.
            raise UndecodableError("PostScript, which is not decoded because it is a program")
        kind, orientation = image.format or "unknown", _orientation(image)
        if kind == "TIFF":
            tiff.check_strips(image, data)
            colours = tiff.colours_of_16_bits(image, data)
            if colours is not None:
                return _Read(colours, kind, orientation, orientation, tiff.stated_depth(image))
        image.load()
        turned = _orientation(image)
        if not image.mode.startswith("I"):
            return _Read(image, kind, orientation, turned)
        stated = tiff.stated_depth(image) if kind == "TIFF" else FULL_DEPTH if kind in _SCALED_BY_PILLOW else None
        samples = np.asarray(image).clip(0, 2**FULL_DEPTH - 1).astype(np.uint16)
        return _Read(samples[:, :, np.newaxis], kind, orientation, turned, stated)


def _orientation(source: Image.Image | bytes) -> int:
    """Return the EXIF orientation, from 1 to 8; 1 if EXIF is missing, damaged or invalid."""
    try:
        image = _opened(source) if isinstance(source, bytes) else source
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # The pixels may be intact even if EXIF is damaged.
        return 1
    return orientation if orientation in _UNDO else 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UndecodableError("floating-point pixels are not supported, since their range is unknown")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


@functools.cache
def _register_heif() -> None:
    if heif_version():
        import pillow_heif

        pillow_heif.register_heif_opener()


def _unknown(data: bytes) -> str:
    """Return the reason why no decoder knows a file."""
    if _is_heif(data) and not heif_version():
        return f"HEIC image; to use it, install the package {_HEIF_PACKAGE} (pip install {_HEIF_PACKAGE})"
    return "not an image in a known format"
