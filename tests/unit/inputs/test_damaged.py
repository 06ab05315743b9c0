"""Mutated files of all formats: each is an image or has a reason, and pixels that fail a checksum are never used."""

import io
import resource
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from pipeline.inputs.decoding import UndecodableError, decode
from tests.support.datasets import photo
from tests.support.png import chunk, encode

MAX_PIXELS = 1_000_000
PHOTO = photo(5, 60, 44)
PIXELS = np.asarray(PHOTO)

# Damage is remarked on by Pillow.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::DeprecationWarning:PIL")


@dataclass(frozen=True)
class Kind:
    """A format with the answer for its files."""

    data: bytes
    tolerance: int = 0
    """Largest mean difference from the photo, which is noisy."""
    checked: bool = False
    """True if checksums cover everything that the pixels depend on."""


def saved(kind: str, image: Image.Image = PHOTO, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


KINDS = {
    "png": Kind(saved("PNG"), checked=True),
    "interlaced png": Kind(encode(PIXELS, chunk(b"tEXt", b"Comment\0hello"), interlaced=True, parts=9), checked=True),
    "png of 16 bits": Kind(encode(PIXELS.astype(np.uint16) * 257), checked=True),
    "apng": Kind(saved("PNG", save_all=True, append_images=[PHOTO.rotate(180)]), checked=True),
    "jpeg": Kind(saved("JPEG", quality=95, subsampling=0), 25),
    "progressive jpeg": Kind(saved("JPEG", quality=95, progressive=True), 25),
    "mpo": Kind(saved("MPO", save_all=True, append_images=[PHOTO.rotate(180)], quality=95, subsampling=0), 25),
    "gif": Kind(saved("GIF", PHOTO.quantize(256)), 25),
    "webp": Kind(saved("WEBP", lossless=True)),
    "lossy webp": Kind(saved("WEBP", quality=95), 25),
    "bmp": Kind(saved("BMP")),
    "tiff": Kind(saved("TIFF")),
    "tiff, lzw": Kind(saved("TIFF", compression="tiff_lzw")),
    "tiff, deflated": Kind(saved("TIFF", compression="tiff_deflate")),
    "tiff, jpeg": Kind(saved("TIFF", compression="jpeg", quality=95), 25),
    "jpeg 2000": Kind(saved("JPEG2000")),
    "avif": Kind(saved("AVIF", quality=100, subsampling="4:4:4"), 25),
    "ico": Kind(saved("ICO", sizes=[(60, 44)])),
    "ppm": Kind(saved("PPM")),
    "tga": Kind(saved("TGA", compression="tga_rle")),
    "pcx": Kind(saved("PCX")),
    "sgi": Kind(saved("SGI")),
    "dds": Kind(saved("DDS")),
}


def mutated(data: bytes, draws: np.random.Generator) -> bytes:
    """Data with a few bits, bytes, numbers or parts changed, or cut off."""
    found = bytearray(data)
    for _ in range(draws.integers(1, 4)):
        if not found:
            break
        place, size = int(draws.integers(len(found))), int(draws.integers(1, 60))
        # Headers are short, and what they say matters most.
        place = place if draws.random() < 0.5 else place % 64
        match int(draws.integers(6)):
            case 0:
                found[place % len(found)] ^= 1 << int(draws.integers(8))
            case 1:
                found[place : place + size] = draws.bytes(size)
            case 2:
                found[place : place + 4] = draws.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", bytes(4)])  # fmt: skip
            case 3:
                del found[place : place + size]
            case 4:
                found[place:place] = found[place // 2 : place // 2 + size]
            case 5:
                del found[max(place, 1) :]
    return bytes(found)


def check_mutations(seed: int, count: int) -> None:
    draws = np.random.default_rng(seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reasons = []
    for number in range(count):
        name = list(KINDS)[number % len(KINDS)]
        kind, data = KINDS[name], mutated(KINDS[name].data, draws)
        try:
            found = decode(data, MAX_PIXELS).image
        except UndecodableError as error:
            reasons.append(str(error))
            continue
        assert found.width * found.height <= MAX_PIXELS, (name, number)
        if kind.checked:
            assert np.array_equal(np.asarray(found), PIXELS), (name, number)
    assert reasons
    assert all(reason and len(reason.split()) < 60 for reason in reasons)
    # In KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


@pytest.mark.parametrize("name", KINDS)
def test_sound_files_give_the_photo(name):
    found = decode(KINDS[name].data, MAX_PIXELS).image
    assert np.abs(np.asarray(found).astype(int) - PIXELS).mean() <= KINDS[name].tolerance


@pytest.mark.parametrize("name", ["png", "interlaced png", "png of 16 bits", "apng", "ico"])
def test_files_with_checksums_are_sound_or_refused(name):
    """A flipped bit in each place of the file."""
    data = KINDS[name].data
    refused = 0
    for place in range(22 if name == "ico" else 0, len(data), 23):
        bad = bytearray(data)
        bad[place] ^= 1 << place % 8
        try:
            assert np.array_equal(np.asarray(decode(bytes(bad), MAX_PIXELS).image), PIXELS)
        except UndecodableError:
            refused += 1
    assert refused > (0.4 if name == "apng" else 0.8) * (len(data) // 23)


@pytest.mark.parametrize("seed", range(2))
def test_mutated_files(seed):
    check_mutations(seed, 240)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 15))
def test_many_mutated_files(seed):
    check_mutations(seed, 2000)
