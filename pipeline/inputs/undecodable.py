"""Errors of files that can't be decoded, and the limit of their size."""

SAFE_PIXELS = 89_478_485
"""Largest number of pixels of an image from an unknown source; above it, Pillow warns of a decompression bomb."""


class UndecodableError(ValueError):
    """Error for bytes that can't be decoded as an image; the message is the reason."""


class TooLargeError(UndecodableError):
    """Error for an image with more pixels than the caller allows."""


def check_size(width: int, height: int, max_pixels: int | None) -> None:
    """Check the number of pixels of an image before it is decoded.

    Raises:
        TooLargeError: The image has more than `max_pixels`; None allows any number.
    """
    if max_pixels is not None and width * height > max_pixels:
        raise TooLargeError(f"{width}x{height} are more than {max_pixels} pixels")
