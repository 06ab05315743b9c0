"""Checks of icon files, whose images Pillow decodes before their sizes and checksums can be checked."""

from pipeline.inputs.png import SIGNATURE, Png
from pipeline.inputs.undecodable import check_size

_WINDOWS, _MAC = (b"\0\0\1\0", b"\0\0\2\0"), b"icns"


def check_icon(data: bytes, max_pixels: int | None) -> None:
    """Check the sizes of all images of an icon file, and the checksums of its PNG images.

    Raises:
        UndecodableError: An image is larger than `max_pixels`, or fails its checksums.
    """
    if data.startswith(_WINDOWS):
        count = int.from_bytes(data[4:6], "little")
        starts = [int.from_bytes(data[place : place + 4], "little") for place in range(18, 18 + 16 * count, 16)]
    elif data.startswith(_MAC):
        starts = _places(data, SIGNATURE)
    else:
        return
    for start in set(starts):
        if data.startswith(SIGNATURE, start):
            png = Png(memoryview(data)[start:])
            check_size(png.width, png.height, max_pixels)
            png.check()
        else:
            # The bitmap of an image stands above that of its mask.
            width, height = (int.from_bytes(data[start + at : start + at + 4], "little", signed=True) for at in (4, 8))
            check_size(abs(width), abs(height) // 2, max_pixels)


def _places(data: bytes, part: bytes) -> list[int]:
    places, place = [], data.find(part)
    while place >= 0:
        places.append(place)
        place = data.find(part, place + 1)
    return places
