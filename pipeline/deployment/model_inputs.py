"""Images in the forms that a logged model accepts: files, arrays of pixels, Pillow images, and tables of these."""

import base64
import binascii
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.inputs.undecodable import UndecodableError

COLUMN = "image"
"""Column of images in a table."""
MAX_REQUEST = 256
"""Maximum number of images in a request to MLflow's scoring server."""
ACCEPTED = (
    "pixels [height, width, 3] or [images, height, width, 3], bytes of image files, Pillow images, paths, "
    f"a list of these, or a table with the column {COLUMN!r}"
)
"""The accepted forms, for error messages."""

# Set by MLflow's scoring server. The server never passes a list of texts, but other servers may.
_SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"
_CHANNELS = (1, 3, 4)
# Floats that a computation has left this far outside of their range are valid.
_ROUNDING = 1e-3
# Modes that PNG files can store without loss.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True)
class Inputs:
    """Images of one prediction, in any of the accepted forms."""

    images: list[object]
    may_be_paths: bool
    """Whether texts may be paths, which is false for everything that a request can contain."""

    @classmethod
    def of(cls, data: object) -> "Inputs":
        """List the images in the input of a prediction.

        Raises:
            ValueError: The input has none of the accepted forms.
        """
        served = os.environ.get(_SERVED, "").lower() == "true"
        images = _images(data)
        if served and len(images) > MAX_REQUEST:
            raise ValueError(f"The request has {len(images)} images; send at most {MAX_REQUEST}")
        if not images:
            raise ValueError(f"The input has no images; expected {ACCEPTED}")
        listed = isinstance(data, list | tuple) and not any(isinstance(each, dict) for each in data)
        return cls(images, may_be_paths=not served and (listed or isinstance(data, str)))

    def pixels(self, number: int, decode: Callable[[bytes], np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
        """Convert an image to the network's input.

        Args:
            number: Index of the image.
            decode: Function that decodes the bytes of an image file to uint8 [*shape].
            shape: Height and width of the network's images, and 3.

        Raises:
            UndecodableError, ValueError: The image can't be used.
            OSError: The file can't be read.
        """
        image = self.images[number]
        if isinstance(image, np.ndarray) and not image.ndim:
            image = image.item()
        if isinstance(image, str):
            image = _from_text(image, may_be_path=self.may_be_paths)
        if isinstance(image, os.PathLike):
            image = Path(image).read_bytes()
        if isinstance(image, bytes | bytearray):
            return decode(bytes(image))
        if isinstance(image, Image.Image):
            return decode(_as_file(image))
        array = as_uint8(_as_array(image))
        if array.shape == shape:
            return array
        return decode(_as_file(_as_image(array)))


def _images(data: object) -> list[object]:
    match data:
        case pd.DataFrame():
            if COLUMN not in data:
                raise ValueError(f"The table has no column {COLUMN!r}, but {', '.join(map(str, data)) or 'none'}")
            return data[COLUMN].tolist()
        case dict():
            if COLUMN not in data:
                raise ValueError(f"The input has no key {COLUMN!r}, but {', '.join(map(str, data)) or 'none'}")
            return _images(data[COLUMN])
        case pd.Series():
            return data.tolist()
        case np.ndarray() if data.ndim and data.dtype.kind in "OSU":
            return data.tolist()
        case np.ndarray():
            # The range of floats is that of the whole batch: an image of it may be black.
            return list(as_uint8(data)) if data.ndim == 4 else [data]
        case list() | tuple() if data and all(isinstance(each, dict) for each in data):
            return [image for each in data for image in _images(each)]
        case list() | tuple() if data and isinstance(data[0], list | tuple | int | float):
            # Pixels as nested lists.
            return _images(_as_array(data))
        case list() | tuple():
            return list(data)
    return [data]


def as_uint8(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to uint8: integers from 0 to 255, or floats from 0 to 1 or from 0 to 255.

    Raises:
        ValueError: The pixels have another type or range.
    """
    if not pixels.size or pixels.dtype.kind not in "iuf":
        raise ValueError(
            f"can't use {_described(pixels)}; expected {ACCEPTED}; pixels are integers from 0 to 255, or floats from 0 to 1 or 255"
        )
    if pixels.dtype == np.uint8:
        return pixels
    low, high = pixels.min(), pixels.max()
    scale = 255 if pixels.dtype.kind == "f" and high <= 1 + _ROUNDING else 1
    if not (low >= -_ROUNDING and high * scale <= 255 * (1 + _ROUNDING)):
        raise ValueError(
            f"the pixels have values from {low:g} to {high:g}; expected integers from 0 to 255, or floats from 0 to 1 or 255"
        )
    return np.rint(np.clip(pixels * scale, 0, 255)).astype(np.uint8)


def _as_array(image: object) -> np.ndarray:
    try:
        return np.asarray(image)
    except ValueError as error:
        raise ValueError("the rows of the pixels have different lengths") from error


def _as_image(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 3 or pixels.shape[2] not in _CHANNELS:
        raise ValueError(
            f"the pixels have shape {list(pixels.shape)}; expected [height, width, channels] with 3 channels, "
            "4 with transparency or 1 for grey, and [images, height, width, channels] for a batch"
        )
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _as_file(image: Image.Image) -> bytes:
    """Return the image as a PNG file, since transparency, orientation and limits are then handled as for all files."""
    if image.mode == "F":
        raise ValueError("Pillow images of floating-point pixels are not supported, since their range is unknown")
    try:
        if image.mode not in _PNG_MODES:
            image = image.convert("I;16" if image.mode == "I" else "RGB")
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1, exif=image.getexif())
    except Exception as error:  # Damaged files raise nearly anything in Pillow's decoders.
        raise UndecodableError(f"damaged: {error or type(error).__name__}") from error
    return file.getvalue()


def _from_text(text: str, *, may_be_path: bool) -> bytes:
    if may_be_path and not text.startswith("data:") and _is_file(text):
        return Path(text).read_bytes()
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        allowed = (
            "a file or base64" if may_be_path else "base64 of an image file; paths have to be pathlib.Path objects"
        )
        raise ValueError(f"the text is not {allowed}") from error


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        # The text is longer than a path can be.
        return False


def _described(value: np.ndarray) -> str:
    if value.ndim:
        return f"an array of type {value.dtype} and shape {list(value.shape)}"
    return f"a value of type {type(value.item()).__name__}"
