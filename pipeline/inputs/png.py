"""Reading of PNG files, with the comparison of their checksums.

Pillow does not compare the checksums of pixels, and refuses images because of their metadata. Therefore it gets a copy
of the file without metadata, whose pixels are no longer compressed. That takes as long as decompression in Pillow.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.inputs.undecodable import UndecodableError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Channels and allowed bits per sample of each type of colour.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ALLOWED_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Chunks that determine the pixels; other chunks with a wrong checksum are ignored.
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Starts of the text chunks from which Pillow reads the orientation.
_ORIENTATION_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
# Column and row of the first pixel, and distances of columns and rows, in each pass of an interlaced file.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# More data than the pixels need is tolerated up to this size, as by other decoders.
_SURPLUS = 2**20
# Largest uncompressed block of a zlib stream.
_LARGEST_BLOCK = 65535
_ONE_PIXEL = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)


class Png:
    """PNG file whose checksums are right."""

    def __init__(self, data: bytes | memoryview):
        """Read the chunks of a file and compare their checksums.

        Raises:
            UndecodableError: A chunk of pixels is missing or incomplete, or does not have its checksum.
        """
        self._first: dict[bytes, memoryview] = {}
        self._compressed: list[memoryview] = []
        self._metadata: list[tuple[bytes, memoryview]] = []
        for kind, content in _chunks(memoryview(data)):
            if kind == b"IDAT":
                self._compressed.append(content)
            elif kind == b"eXIf" or bytes(content[:22]).startswith(_ORIENTATION_TEXTS):
                self._metadata.append((kind, content))
            else:
                self._first.setdefault(kind, content)
        if len(self._first.get(b"IHDR", b"")) != 13 or not self._compressed:
            raise UndecodableError("damaged: the PNG file has no header or no pixels")
        self.width, self.height, self.bits, self._colour, *_, self._interlaced = struct.unpack(
            ">IIBBBBB", self._first[b"IHDR"]
        )
        if self.bits not in _ALLOWED_BITS.get(self._colour, ()) or not self.width or not self.height:
            raise UndecodableError("damaged: the header of the PNG file is invalid")

    @property
    def is_grey(self) -> bool:
        """True if the file has grey levels only, of which Pillow reads all 16 bits."""
        return self._colour == 0

    @property
    def stated_depth(self) -> int | None:
        """Number of significant bits of a sample that the file states; None if it states none, or all bits."""
        stated = max(self._first.get(b"sBIT", b""), default=self.bits)
        return stated if stated < self.bits else None

    @property
    def metadata(self) -> bytes | None:
        """PNG file of one pixel with the chunks that can contain an orientation; None if there are none."""
        return _file(_ONE_PIXEL, self._metadata, b"\0\0") if self._metadata else None

    def _rows(self) -> bytes:
        """Return the filtered rows of pixels of all passes; they are not kept, since they may be large."""
        size = sum(count * length for count, length in self._passes())
        inflater = zlib.decompressobj()
        try:
            rows = inflater.decompress(b"".join(self._compressed), size)
            inflater.decompress(inflater.unconsumed_tail, _SURPLUS)
        except zlib.error as error:
            raise UndecodableError(f"damaged: the pixels can't be decompressed ({error})") from error
        if len(rows) < size or not inflater.eof:
            raise UndecodableError("damaged: the file has fewer or more pixels than its header says")
        return rows

    def _passes(self) -> Iterator[tuple[int, int]]:
        """Yield the number of rows and the bytes per row, with the filter's byte, of each pass that is not empty."""
        for x, y, right, down in _PASSES if self._interlaced else ((0, 0, 1, 1),):
            columns, rows = -((x - self.width) // right), -((y - self.height) // down)
            if columns > 0 and rows > 0:
                yield rows, 1 + (columns * self.bits * _CHANNELS[self._colour] + 7) // 8

    def check(self) -> None:
        """Check that the pixels are complete and have their checksum."""
        self._rows()

    def file(self) -> bytes:
        """Return the file without metadata and compression."""
        colours = [(kind, self._first[kind]) for kind in (b"PLTE", b"tRNS") if kind in self._first]
        return _file(self._first[b"IHDR"], colours, self._rows())

    def halves(self) -> tuple[bytes, bytes]:
        """Return two files of 8 bits per sample, with the upper and the lower bytes of a file of 16 bits.

        The filters of PNG work on each byte of a pixel separately, so that filtered rows can be divided as well.
        """
        upper: list[bytes] = []
        lower: list[bytes] = []
        start, data = 0, self._rows()
        for count, length in self._passes():
            rows = np.frombuffer(data, np.uint8, count * length, start).reshape(count, length)
            start += count * length
            for half, first in ((upper, 1), (lower, 2)):
                half.append(np.concatenate([rows[:, :1], rows[:, first::2]], axis=1).tobytes())
        header = bytes(self._first[b"IHDR"])
        header = header[:8] + b"\x08" + header[9:]
        return _file(header, [], b"".join(upper)), _file(header, [], b"".join(lower))

    @property
    def transparent(self) -> np.ndarray | None:
        """Colour of a 16-bit file that is transparent, uint16 [1 or 3]; None if there is none."""
        colour = self._first.get(b"tRNS", b"")
        return np.frombuffer(colour, ">u2") if len(colour) == 2 * _CHANNELS[self._colour] else None


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the chunks that have their checksum.

    Raises:
        UndecodableError: A chunk that determines pixels is incomplete or does not have its checksum.
    """
    start, kind = len(SIGNATURE), b""
    while kind != b"IEND" and start + 8 <= len(data):
        kind = bytes(data[start + 4 : start + 8])
        end = start + 8 + int.from_bytes(data[start : start + 4])
        if end + 4 <= len(data) and zlib.crc32(data[start + 4 : end]) == int.from_bytes(data[end : end + 4]):
            yield kind, data[start + 8 : end]
        elif kind in _PIXELS:
            problem = "is incomplete" if end + 4 > len(data) else "does not have its checksum"
            raise UndecodableError(f"damaged: chunk {kind.decode()} of the PNG file {problem}")
        start = end + 4


def _file(header: bytes | memoryview, chunks: Sequence[tuple[bytes, memoryview]], rows: bytes) -> bytes:
    """Return a PNG file with uncompressed rows of pixels."""
    parts: list[bytes | memoryview] = [SIGNATURE]
    for kind, *contents in ((b"IHDR", header), *chunks, (b"IDAT", *_uncompressed(rows)), (b"IEND",)):
        checksum = zlib.crc32(kind)
        for content in contents:
            checksum = zlib.crc32(content, checksum)
        parts += [struct.pack(">I", sum(map(len, contents))), kind, *contents, struct.pack(">I", checksum)]
    return b"".join(parts)


def _uncompressed(data: bytes) -> Iterator[bytes | memoryview]:
    """Yield the parts of a zlib stream of uncompressed blocks; zlib itself would copy the data several times."""
    yield b"\x78\x01"
    for start in range(0, len(data), _LARGEST_BLOCK):
        block = memoryview(data)[start : start + _LARGEST_BLOCK]
        is_last = start + len(block) == len(data)
        yield struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF)
        yield block
    yield struct.pack(">I", zlib.adler32(data))
