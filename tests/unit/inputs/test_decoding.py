"""Images are decoded as a person sees them; what is not an image is refused with a reason."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from pipeline.config.image import Decoding
from pipeline.inputs.decoding import _MODULES, UndecodableError, decode, heif_version, pixels
from pipeline.system.paths import CODE
from tests.support.images import draw


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG", "WEBP", "GIF"])
def test_formats_give_the_same_image(kind):
    image = Image.new("RGB", (20, 10), (200, 100, 50))
    decoded = decode(encoded(image, kind))
    assert decoded.format == kind
    assert np.abs(np.asarray(decoded.image, int) - [200, 100, 50]).max() <= 3


def test_orientation_is_undone():
    image = Image.new("RGB", (20, 10), "white")
    image.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: what it saved is to be rotated by 90 degrees clockwise.
    decoded = decode(encoded(image, "PNG", exif=exif))
    assert (decoded.image.size, decoded.orientation) == ((10, 20), 6)
    assert decoded.image.getpixel((5, 5)) == (255, 0, 0)
    assert decoded.image.getpixel((5, 15)) == (255, 255, 255)


def test_modes_become_rgb_as_they_look():
    grey16 = Image.fromarray(np.full((4, 4), 65535 // 2, np.uint16))
    assert decode(encoded(grey16, "PNG")).image.getpixel((0, 0)) == (127, 127, 127)
    transparent = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode(encoded(transparent, "PNG")).image.getpixel((0, 0)) == (255, 255, 255)
    assert decode(encoded(Image.new("L", (4, 4), 77), "PNG")).image.getpixel((0, 0)) == (77, 77, 77)
    assert decode(encoded(Image.new("1", (4, 4), 1), "PNG")).image.getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("RGB", (4, 4), (10, 200, 30)).quantize(4)
    assert decode(encoded(palette, "PNG")).image.getpixel((0, 0)) == (10, 200, 30)
    cmyk = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).image.getpixel((4, 4))
    assert cmyk[0] > 200
    assert max(cmyk[1:]) < 60


def test_the_first_frame_counts():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).image.getpixel((0, 0)) == (
        255,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not an image in a known format"),
        (encoded(draw((1, 2, 3), 0, 200), "JPEG")[:2000], "damaged: .*truncated"),
        (encoded(draw((1, 2, 3), 0, 200), "PNG")[:2000], "damaged"),
        (encoded(draw((1, 2, 3), 0, 20), "EPS"), "PostScript, which is not decoded"),
    ],
)
def test_what_is_not_an_image_is_refused_with_the_reason(data, reason):
    with pytest.raises(UndecodableError, match=reason):
        decode(data)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    data = encoded(Image.new("L", (60, 60)), "PNG")
    with pytest.raises(UndecodableError, match=r"60x60 are more than 2000 pixels"):
        decode(data, 2000)
    assert decode(data, 3600).image.size == (60, 60)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_invalid_exif_does_not_cost_the_image():
    exif = Image.Exif()
    exif[0x0112] = 99
    assert decode(encoded(Image.new("RGB", (20, 10)), "PNG", exif=exif)).orientation == 1
    data = encoded(Image.new("RGB", (20, 10), "red"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).image.size == (20, 10)


def test_pixels_are_a_square_of_the_size():
    array = pixels(encoded(Image.new("RGB", (50, 20), (1, 2, 3)), "PNG"), Decoding(32))
    assert (array.shape, array.dtype) == ((32, 32, 3), np.uint8)
    assert (array == [1, 2, 3]).all()


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.mark.skipif(heif_version() is not None, reason="the package is installed")
@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"hevc"])
def test_heic_names_the_package_that_reads_it(brand):
    with pytest.raises(UndecodableError, match=r"HEIC image; to use it, install the package pillow-heif"):
        decode(HEIC.replace(b"ftypheic", b"ftyp" + brand))


def test_the_version_covers_all_modules_of_the_decoder():
    """Otherwise, cached images of older code would be used."""
    imported = {"decoding"}
    for _ in range(3):
        for name in tuple(imported):
            text = (CODE / "pipeline" / "inputs" / f"{name}.py").read_text()
            imported |= set(re.findall(r"from pipeline\.inputs\.(\w+) import", text))
            if found := re.search(r"from pipeline\.inputs import (.+)", text):
                imported |= set(found[1].split(", "))
    assert imported == set(_MODULES)
