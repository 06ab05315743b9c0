"""Reading of TIFF files: checksums that libtiff does not compare, and colours of 16 bits, which Pillow reduces to 8."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from pipeline.inputs.undecodable import UndecodableError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _KIND, _OFFSETS, _CHANNELS, _COUNTS = 256, 257, 258, 259, 262, 273, 277, 279
_LARGEST_VALUE, _PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_OFFSETS, _TILE_COUNTS = 281, 284, 317, 322, 324, 325
_EXTRA_CHANNELS, _LARGEST_SAMPLE = 338, 341
# Tags that keep their values if colours are read as grey levels: with those above, the order of bits, the rows of a
# strip and of a tile.
_SAME = (_HEIGHT, _COMPRESSION, 266, _OFFSETS, 278, _COUNTS, 323, _TILE_OFFSETS, _TILE_COUNTS)
_PLACES = ((_OFFSETS, _TILE_OFFSETS), (_COUNTS, _TILE_COUNTS))
_DEFLATE = (8, 32946)
_GREY, _COLOURS, _ONE_PLANE, _HORIZONTAL, _NOT_TRANSPARENCY, _PREMULTIPLIED = 1, 2, 1, 2, (0,), (1,)
_LONG = 4
_BLOCK = 2**20


def stated_depth(image: Image.Image) -> int | None:
    """Return the number of bits of a sample that a TIFF file states; None if it states none, or 16 and more."""
    tags = image.tag_v2
    largest = [value for tag in (_LARGEST_VALUE, _LARGEST_SAMPLE) for value in _values(tags.get(tag))]
    stated = max([value.bit_length() for value in largest] or _values(tags.get(_BITS)), default=16)
    return stated if stated < 16 else None


def _values(tag: object) -> list[int]:
    """Return the positive integers of a tag, which is one value, several, or anything else in damaged files."""
    values = tag if isinstance(tag, tuple) else (tag,)
    return [value for value in values if isinstance(value, int) and value > 0]


def check_strips(image: Image.Image, data: bytes) -> None:
    """Compare the checksums of deflated strips or tiles of a TIFF file.

    Raises:
        UndecodableError: A strip can't be decompressed, or does not have its checksum.
    """
    tags = image.tag_v2
    if tags.get(_COMPRESSION) not in _DEFLATE:
        return
    # Strips of a malicious file may overlap, so that they are much larger than the image.
    left = 64 * _BLOCK + 8 * len(_values(tags.get(_BITS))) * image.width * image.height
    offsets, counts = (_values(tags.get(strips) or tags.get(tiles)) for strips, tiles in _PLACES)
    for offset, count in zip(offsets, counts, strict=False):
        inflater, rest = zlib.decompressobj(), data[offset : offset + count]
        try:
            while rest and left > 0 and not inflater.eof:
                left -= len(inflater.decompress(rest, _BLOCK))
                rest = inflater.unconsumed_tail
        except zlib.error as error:
            raise UndecodableError(f"damaged: the pixels can't be decompressed ({error})") from error


def colours_of_16_bits(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Read the colours of a TIFF file that has 16 bits per channel.

    The file is given a directory in which the channels of a pixel are neighbouring grey levels.

    Args:
        image: The opened file.
        data: Its bytes.

    Returns:
        Colours, with or without transparency as the last channel, uint16 [h, w, 3 or 4]; None for other files.
    """
    tags = image.tag_v2
    extra, bits = tags.get(_EXTRA_CHANNELS, ()), tags.get(_BITS, ())
    chunky = tags.get(_PLANES, _ONE_PLANE) == _ONE_PLANE and extra != _PREMULTIPLIED
    if not (image.mode in ("RGB", "RGBA") and chunky and set(bits) == {16} and tags.get(_KIND) == _COLOURS):
        return None
    channels, width, height = tags[_CHANNELS], tags[_WIDTH], tags[_HEIGHT]
    directory = {tag: _values(tags[tag]) for tag in _SAME if tag in tags}
    directory |= {_WIDTH: [width * channels], _BITS: [16], _KIND: [_GREY], _CHANNELS: [1]}
    if _TILE_WIDTH in tags:
        directory[_TILE_WIDTH] = [tags[_TILE_WIDTH] * channels]
    with Image.open(io.BytesIO(_with_directory(data, directory, "<" if tags.prefix == b"II" else ">"))) as grey:
        samples = np.asarray(grey).astype(np.uint16).reshape(height, width, channels)
    if tags.get(_PREDICTOR) == _HORIZONTAL:
        for left in range(0, width, tags.get(_TILE_WIDTH, width)):
            part = samples[:, left : left + tags.get(_TILE_WIDTH, width)]
            np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return samples[:, :, :3] if extra == _NOT_TRANSPARENCY else samples


def _with_directory(data: bytes, directory: dict[int, list[int]], order: str) -> bytes:
    """Return a TIFF file with the values of each tag in place of its own directory, in its byte order, < or >."""
    start = len(data) + len(data) % 2
    place = start + 2 + 12 * len(directory) + 4
    entries, arrays = [struct.pack(f"{order}H", len(directory))], []
    for tag, values in sorted(directory.items()):
        array = struct.pack(f"{order}{len(values)}I", *values)
        entries.append(struct.pack(f"{order}HHI", tag, _LONG, len(values)))
        if len(values) == 1:
            entries.append(array)
        else:
            entries.append(struct.pack(f"{order}I", place))
            arrays.append(array)
            place += len(array)
    header = data[:2] + struct.pack(f"{order}HI", 42, start)
    return b"".join([header, data[8:], bytes(start - len(data)), *entries, bytes(4), *arrays])
