"""PNG files whose pixels fail a checksum are refused; what is odd in their metadata costs nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.inputs.decoding import TooLargeError, UndecodableError, decode
from tests.support.png import SIGNATURE, chunk, chunks_of, encode

rng = np.random.default_rng(3)
GREY, GREY_ALPHA, RGB, RGBA = (rng.integers(0, 256, (21, 13, channels), dtype=np.uint8) for channels in (1, 2, 3, 4))


def seen(samples: np.ndarray) -> np.ndarray:
    """Samples of 8 bits as RGB on white."""
    colours, opacity = (samples[:, :, :-1], samples[:, :, -1:] / 255) if samples.shape[2] in (2, 4) else (samples, 1)
    return np.broadcast_to(np.round(colours * opacity + 255 * (1 - np.asarray(opacity))), (*samples.shape[:2], 3))


def decoded(data: bytes, **options) -> np.ndarray:
    return np.asarray(decode(data, **options).image)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("samples", [GREY, GREY_ALPHA, RGB, RGBA], ids=["grey", "grey+alpha", "rgb", "rgba"])
def test_all_filters_and_passes_are_read(samples, interlaced):
    found = decoded(encode(samples, interlaced=interlaced, parts=3))
    assert np.abs(found - seen(samples)).max() <= 1
    # The lower bytes of 16 bits are rounded.
    deep = samples.astype(np.uint16) * 257 - (samples > 0) * rng.integers(0, 100, samples.shape, dtype=np.uint16)
    assert np.abs(decoded(encode(deep, interlaced=interlaced, parts=2)) - seen(samples)).max() <= 1


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("samples", [RGB, RGBA.astype(np.uint16) * 250], ids=["8 bits", "16 bits"])
def test_each_flipped_bit_of_the_pixels_is_found(samples, interlaced):
    data = encode(samples, chunk(b"tIME", bytes(7)), interlaced=interlaced, parts=4)
    for kind, start, end in chunks_of(data):
        if kind == b"tIME":
            continue
        # Content and checksum of the chunk.
        for place in {*range(start, end, 7), *range(end, end + 4)}:
            bad = bytearray(data)
            bad[place] ^= 1 << place % 8
            with pytest.raises(UndecodableError, match=f"damaged: chunk {kind.decode()} of the PNG file does not have"):
                decode(bytes(bad))


@pytest.mark.parametrize("cut", [1, 3, 4, 8, 40])
def test_pixels_that_are_cut_off_are_found(cut):
    data = encode(RGB)
    [(_, _, end)] = [each for each in chunks_of(data) if each[0] == b"IDAT"]
    with pytest.raises(UndecodableError, match="damaged: chunk IDAT of the PNG file is incomplete"):
        decode(data[: end + 4 - cut])


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (zlib.compress(bytes(40 * 31))[:-4] + bytes(4), "can't be decompressed .*incorrect data check"),
        (zlib.compress(bytes(39 * 31)), "fewer or more pixels"),
        (zlib.compress(bytes(40 * 31 + 2**21)), "fewer or more pixels"),
        (zlib.compress(bytes(40 * 31))[:-4], "fewer or more pixels"),
        (b"no stream", "can't be decompressed"),
        (b"", "fewer or more pixels"),
    ],
)
def test_pixels_that_fail_the_checksum_of_their_stream_are_damaged(pixels, reason):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 40, 8, 2, 0, 0, 0))
    with pytest.raises(UndecodableError, match=f"damaged: .*{reason}"):
        decode(SIGNATURE + header + chunk(b"IDAT", pixels) + chunk(b"IEND"))


@pytest.mark.parametrize("header", [(0, 5, 8, 2), (5, 0, 8, 2), (5, 5, 8, 5), (5, 5, 7, 2), (5, 5, 16, 3)], ids=str)
def test_an_invalid_header_is_damage(header):
    data = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(bytes(500)))
    with pytest.raises(UndecodableError, match="damaged"):
        decode(SIGNATURE + data + chunk(b"IEND"))


TURNED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * 3_000_000)),
        *([chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_000_000)) * 70]),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"iCCP", b"name\0\0" + b"no stream"),
        chunk(b"iCCP", b"name\0\7" + zlib.compress(b"x")),
        chunk(b"tEXt", b"Comment\0hello", checksum=1),
        chunk(b"pHYs", b"x"),
        chunk(b"gAMA", b""),
        chunk(b"sRGB", b""),
        chunk(b"acTL", b""),
        chunk(b"tIME", bytes(7), checksum=1),
        chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        chunk(b"eXIf", TURNED, checksum=1),
        chunk(b"XML:", b"x"),
    ],
    ids=lambda odd: odd[4:8].decode(),
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_odd_metadata_costs_nothing(odd, place):
    data = encode(RGB, odd) if place == "before" else encode(RGB, after=odd)
    assert np.array_equal(decoded(data), RGB)


def test_the_orientation_counts_despite_odd_metadata():
    data = encode(RGB, chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000), chunk(b"eXIf", TURNED))
    assert decode(data).orientation == 6
    assert np.array_equal(decoded(data), np.rot90(RGB, -1))
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(encode(RGB, after=chunk(b"iTXt", xmp))).orientation == 6


def test_transparency_that_fails_its_checksum_is_damage():
    with pytest.raises(UndecodableError, match="chunk tRNS"):
        decode(encode(RGB, chunk(b"tRNS", bytes(6), checksum=1)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits_lies_on_white(channels):
    samples = np.full((2, 2, channels), 50_000, np.uint16)
    samples[0, 0] = 50_001
    found = decoded(encode(samples, chunk(b"tRNS", struct.pack(">H", 50_001) * channels)))
    assert found[0, 0].tolist() == [255] * 3
    assert found[1, 1].tolist() == [195] * 3


def test_later_frames_of_an_animation_do_not_count():
    file = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    data = bytearray(file.getvalue())
    data[data.index(b"fdAT") + 10] ^= 1
    assert decode(bytes(data)).image.getpixel((5, 5)) == (255, 0, 0)


def test_pixels_are_complete_without_the_end_of_the_file():
    assert np.array_equal(decoded(encode(RGB)[:-12]), RGB)


def test_an_icon_with_damaged_or_far_too_many_pixels_is_refused():
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "ICO")
    data = file.getvalue()
    assert decode(data, 2000).format == "ICO"
    bad = bytearray(data)
    bad[-40] ^= 1
    with pytest.raises(UndecodableError, match="damaged: chunk IDAT"):
        decode(bytes(bad))
    entry = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, 100, 22)
    huge = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0))
    bitmap = struct.pack("<IiiHHIIiiII", 40, 50_000, 100_000, 1, 8, 1, 0, 0, 0, 0, 0)
    for content in (huge + chunk(b"IDAT", zlib.compress(bytes(100))), bitmap + bytes(100)):
        with pytest.raises(TooLargeError, match="50000x50000 are more than 2000 pixels"):
            decode(entry + content, 2000)


def test_a_bomb_is_refused_by_its_header():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    with pytest.raises(TooLargeError, match="60000x60000 are more than 1000 pixels"):
        decode(SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(10**7))) + chunk(b"IEND"), 1000)
