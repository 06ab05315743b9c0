"""TIFF files: orientation, and checksums of deflated strips and tiles."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.inputs.decoding import UndecodableError, decode
from tests.support.datasets import photo
from tests.unit.inputs.test_depth import colour_tiff


def saved(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


def test_each_flipped_bit_of_deflated_pixels_is_found():
    data = saved(photo(1, 96, 80), compression="tiff_deflate")
    with Image.open(io.BytesIO(data)) as image:
        start, count = image.tag_v2[273][0], image.tag_v2[279][0]
    draws = np.random.default_rng(1)
    for place in draws.integers(start, start + count, 150):
        bad = bytearray(data)
        bad[place] ^= 1 << int(draws.integers(8))
        with pytest.raises(UndecodableError, match=r"damaged: the pixels can't be decompressed|damaged: decoder error"):
            decode(bytes(bad))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_once(orientation):
    image = Image.new("RGB", (40, 30), "blue")
    image.paste("red", (0, 0, 10, 10))
    found = decode(saved(image, tiffinfo={274: orientation}))
    assert found.orientation == orientation
    corner = {1: (2, 2), 2: (-3, 2), 3: (-3, -3), 4: (2, -3), 5: (2, 2), 6: (-3, 2), 7: (-3, -3), 8: (2, -3)}[
        orientation
    ]
    assert found.image.size == ((40, 30) if orientation < 5 else (30, 40))
    assert found.image.getpixel([at % side for at, side in zip(corner, found.image.size, strict=True)]) == (255, 0, 0)


def test_strange_tags_cost_nothing():
    data = colour_tiff(np.full((4, 4, 3), 3000, np.uint16))
    assert decode(data).image.getpixel((0, 0)) == (187,) * 3
