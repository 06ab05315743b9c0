"""Samples of 10, 12 and 14 bits in files of 16 bits, in every format that holds them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.config.image import Decoding
from pipeline.inputs.decoding import UndecodableError, decode, pixels
from pipeline.inputs.depth import depth_in_use
from tests.support.png import chunk, encode


def ramp(largest: int, channels: int = 1) -> np.ndarray:
    """From 0 at the left to `largest` at the right, uint16 [12, 64, channels]."""
    row = np.linspace(0, largest, 64).round().astype(np.uint16)
    return np.broadcast_to(row[None, :, None], (12, 64, channels)).copy()


def tiff(samples: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples[:, :, 0]).save(file, "TIFF", **options)
    return file.getvalue()


def colour_tiff(samples: np.ndarray, order: str = "<", predictor: int = 1, compression: str = "raw") -> bytes:
    """A TIFF of 16 bits per channel, which Pillow does not write: grey levels of which the directory says colours."""
    height, width, channels = samples.shape
    if predictor == 2:
        samples = np.diff(samples, axis=1, prepend=np.zeros((height, 1, channels), np.uint16))
    data = tiff(samples.astype(np.uint16).reshape(height, -1, 1), compression=compression)
    with Image.open(io.BytesIO(data)) as grey:
        tags = dict(grey.tag_v2)
    if order == ">":
        strip = data[tags[273][0] : tags[273][0] + tags[279][0]]
        assert compression == "raw"
        data = data[: tags[273][0]] + np.frombuffer(strip, "<u2").astype(">u2").tobytes()
    values = {tag: tags[tag] for tag in (257, 259, 273, 278, 279) if tag in tags}
    values |= {256: width, 258: (16,) * channels, 262: 2, 277: channels, 284: 1}
    values |= ({317: 2} if predictor == 2 else {}) | ({338: 2} if channels == 4 else {})
    data += bytes(len(data) % 2)
    entries, arrays, end = b"", b"", len(data) + 6 + 12 * len(values)
    for tag, value in sorted(values.items()):
        array = np.atleast_1d(value).astype(f"{order}u4").tobytes()
        entries += struct.pack(f"{order}HHI", tag, 4, len(array) // 4)
        entries += array if len(array) == 4 else struct.pack(f"{order}I", end + len(arrays))
        arrays += array if len(array) > 4 else b""
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, len(data))
    return header + data[8:] + struct.pack(f"{order}H", len(values)) + entries + bytes(4) + arrays


FILES = {
    "grey png": lambda largest: encode(ramp(largest)),
    "interlaced grey png": lambda largest: encode(ramp(largest), interlaced=True),
    "rgb png": lambda largest: encode(ramp(largest, 3)),
    "grey tiff": lambda largest: tiff(ramp(largest)),
    "deflated tiff": lambda largest: tiff(ramp(largest), compression="tiff_deflate"),
    "rgb tiff": lambda largest: colour_tiff(ramp(largest, 3)),
    "rgb tiff, big-endian": lambda largest: colour_tiff(ramp(largest, 3), ">"),
    "rgb tiff, lzw": lambda largest: colour_tiff(ramp(largest, 3), compression="tiff_lzw"),
    "rgb tiff, deflated, differences": lambda largest: colour_tiff(ramp(largest, 3), "<", 2, "tiff_deflate"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("largest", "depth"), [(255, 8), (1000, 10), (1023, 10), (4095, 12), (16383, 14), (65535, 16)])
def test_samples_are_scaled_from_the_bits_that_they_use(kind, largest, depth):
    found = decode(FILES[kind](largest))
    assert found.depth == depth
    right = np.round(ramp(largest, 3) * (255 / (2**depth - 1)))
    assert np.abs(np.asarray(found.image) - right).max() <= 1
    # As a data set of 16 bits, it is nearly black.
    assert np.abs(np.asarray(decode(FILES[kind](largest), depth=16).image) - ramp(largest, 3) / 257).max() <= 1


def test_colours_of_16_bits_are_not_mixed_up():
    samples = np.random.default_rng(1).integers(0, 4096, (9, 7, 4), dtype=np.uint16)
    samples[:, :, 3] = 65535
    expected = np.round(samples[:, :, :3] / 4095 * 255)
    for data in (encode(samples), encode(samples, interlaced=True), colour_tiff(samples), colour_tiff(samples, ">")):
        assert np.abs(np.asarray(decode(data).image) - expected).max() <= 1


def test_transparency_may_use_all_bits_or_those_of_the_colours():
    samples = ramp(4095, 4)
    samples[:, :, :3], samples[:, :, 3] = 2048, 65535
    for opaque in (65535, 4095):
        samples[:, :, 3] = opaque
        samples[0, 0, 3] = 0
        image = decode(encode(samples)).image
        assert image.getpixel((0, 0)) == (255, 255, 255)
        assert image.getpixel((5, 5)) == (128, 128, 128)


def test_a_file_may_state_its_depth():
    dark = ramp(900)
    assert decode(encode(dark)).depth == 10
    assert decode(encode(dark, chunk(b"sBIT", b"\x0c"))).depth == 12
    assert decode(encode(ramp(900, 3), chunk(b"sBIT", b"\x0c\x0c\x0b"))).depth == 12
    assert decode(encode(dark, chunk(b"sBIT", b"\x10"))).depth == 10
    # The standard wants samples that were scaled to 16 bits, whatever the depth before.
    assert decode(encode(ramp(65535), chunk(b"sBIT", b"\x0c"))).depth == 16
    assert decode(tiff(dark, tiffinfo={281: 4095})).depth == 12
    assert decode(tiff(dark, tiffinfo={281: 65535})).depth == 10


def test_formats_that_state_the_largest_sample_are_scaled_by_it():
    data = b"P5 64 12 4095\n" + ramp(2047).astype(">u2").tobytes()
    for depth in (None, 16):
        found = decode(data, depth=depth)
        assert (found.depth, found.image.getpixel((63, 0))) == (16, (127, 127, 127))


def test_more_bits_than_those_of_training_are_an_error():
    assert pixels(encode(ramp(4095)), Decoding(8, 12)).max() >= 200
    assert pixels(encode(ramp(1023)), Decoding(8, 12)).max() < 64
    with pytest.raises(UndecodableError, match="16-bit samples, but the training images have 12 bits"):
        pixels(encode(ramp(40000)), Decoding(8, 12))


def test_files_of_8_bits_have_no_depth():
    data = encode(np.full((4, 4, 3), 9, np.uint8))
    assert decode(data).depth is None
    assert np.array_equal(pixels(data, Decoding(4, 12)), pixels(data, Decoding(4)))


@pytest.mark.parametrize(
    ("largest", "stated", "depth"), [(0, None, 8), (256, None, 10), (255, 9, 10), (4096, 12, 14), (32768, None, 16)]
)
def test_the_smallest_depth_that_holds_all(largest, stated, depth):
    assert depth_in_use(np.array([0, largest], np.uint16), stated) == depth
