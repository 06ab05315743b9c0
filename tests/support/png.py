"""PNG files written by hand, for what Pillow does not write."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, data: bytes = b"", checksum: int | None = None) -> bytes:
    """A chunk with its checksum, or with another one."""
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def rows_of(samples: np.ndarray, first_filter: int = 0) -> bytes:
    """Filtered rows of uint8 or uint16 samples [h, w, c]; each row has the next of the five filters."""
    step = samples.shape[2] * samples.itemsize
    lines = samples.astype(samples.dtype.newbyteorder(">")).reshape(len(samples), -1).view(np.uint8).astype(int)
    above, found = np.zeros(lines.shape[1], int), []
    for number, line in enumerate(lines):
        left = np.concatenate([np.zeros(step, int), line[:-step]])
        corner = np.concatenate([np.zeros(step, int), above[:-step]])
        guess = left + above - corner
        near = np.stack([abs(guess - each) for each in (left, above, corner)]).argmin(axis=0)
        paeth = np.choose(near, [left, above, corner])
        kind = (number + first_filter) % 5
        predicted = [0 * line, left, above, (left + above) // 2, paeth][kind]
        found.append(bytes([kind]) + ((line - predicted) % 256).astype(np.uint8).tobytes())
        above = line
    return b"".join(found)


def encode(samples: np.ndarray, *before: bytes, after: bytes = b"", interlaced: bool = False, parts: int = 1) -> bytes:
    """A PNG file of samples [h, w, c], with chunks before and after those of the pixels, which are `parts` chunks."""
    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour, 0, 0, interlaced)
    passes = [samples[y::down, x::right] for x, y, right, down in _PASSES] if interlaced else [samples]
    data = zlib.compress(b"".join(rows_of(each, 1) for each in passes if each.size))
    length = -(-len(data) // parts)
    pixels = b"".join(chunk(b"IDAT", data[start : start + length]) for start in range(0, len(data), length))
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(before) + pixels + after + chunk(b"IEND")


def chunks_of(data: bytes) -> list[tuple[bytes, int, int]]:
    """Kind, and start and end of the content, of each chunk."""
    found, start = [], len(SIGNATURE)
    while start < len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4])
        found.append((data[start + 4 : start + 8], start + 8, end))
        start = end + 4
    return found
