"""An image gets the size of the network in three ways; each pixel is where it should be."""

import numpy as np
import pytest
from PIL import Image

from pipeline.config.image import RESIZE, Decoding, ImageConfig
from pipeline.config.size import Size
from pipeline.inputs.resizing import resized

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)
CROP = Decoding(8, resize="crop")


def padding(size: Size) -> Decoding:
    return Decoding.of(size, ImageConfig(resize="pad", pad_value=90))


def stripes(height: int, *widths: int) -> Image.Image:
    """A red, a green and a blue stripe side by side."""
    return Image.fromarray(np.repeat(np.uint8([[RED, GREEN, BLUE]]), widths, axis=1).repeat(height, axis=0))


def columns(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours of an image's columns, each of one colour."""
    array = np.asarray(image)
    assert (array == array[:1]).all()
    return [tuple(colour) for colour in array[0].tolist()]


def made(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def same(image: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(image), np.asarray(other))


def test_stretched_images_show_all_of_both_sides():
    wide = stripes(8, 4, 8, 4)
    assert columns(resized(wide.resize((64, 8), Image.Resampling.NEAREST), Decoding(8)))[::7] == [RED, BLUE]
    image = made(50, 20)
    assert same(resized(image, Decoding(32)), image.resize((32, 32), Image.Resampling.BILINEAR))


def test_cropped_images_show_the_centre_of_the_longer_side():
    wide = stripes(8, 4, 8, 4)
    assert columns(resized(wide, CROP)) == [GREEN] * 8
    assert columns(resized(stripes(8, 5, 8, 3), CROP)) == [RED] + [GREEN] * 7
    assert columns(resized(wide.transpose(Image.Transpose.ROTATE_90), CROP)) == [GREEN] * 8


def test_an_odd_rest_is_cut_by_half_pixels():
    # Of 9 columns, half of the first and of the last one are lost; each new column has halves of two.
    bright = Image.fromarray(np.uint8([[[level] * 3 for level in range(0, 180, 20)]] * 8))
    assert columns(resized(bright, CROP)) == [(level,) * 3 for level in range(10, 170, 20)]


def test_a_crop_is_resampled_once_as_a_part_of_the_whole():
    image = made(48, 16)
    whole = image.resize((24, 8), Image.Resampling.BILINEAR)
    assert same(resized(image, CROP), whole.crop((8, 0, 16, 8)))
    # Enlarged, too.
    small = made(6, 4)
    assert same(resized(small, CROP), small.resize((12, 8), Image.Resampling.BILINEAR).crop((2, 0, 10, 8)))


def test_padded_images_are_whole_and_in_the_middle():
    wide = stripes(8, 4, 8, 4)
    above = resized(wide.resize((32, 16), Image.Resampling.NEAREST), padding(16))
    assert columns(above.crop((0, 0, 16, 4))) == columns(above.crop((0, 12, 16, 16))) == [GREY] * 16
    assert columns(above.crop((0, 4, 16, 12)))[:3] == [RED] * 3
    assert same(resized(wide, padding(16)).crop((0, 4, 16, 12)), wide)
    tall = resized(wide.transpose(Image.Transpose.ROTATE_90), padding(16))
    assert same(tall, resized(wide, padding(16)).transpose(Image.Transpose.ROTATE_90))


def test_an_odd_rest_is_filled_more_at_the_right():
    assert columns(resized(Image.new("RGB", (5, 8), RED), padding(8))) == [GREY] + [RED] * 5 + [GREY] * 2


@pytest.mark.parametrize("value", [(0, [0, 0, 0]), (255, [255, 255, 255]), ([124, 116, 104], [124, 116, 104])])
def test_the_rest_has_the_given_colour(value):
    given, colour = value
    decoding = Decoding.of(8, ImageConfig(resize="pad", pad_value=given))
    assert decoding.pad_value == colour
    assert np.asarray(resized(Image.new("RGB", (8, 2), RED), decoding))[0].tolist() == [colour] * 8
    assert Decoding.of(8, ImageConfig(resize="crop", pad_value=given)).pad_value is None


@pytest.mark.parametrize("decoding", [Decoding(8), CROP, padding(8)])
@pytest.mark.parametrize("side", [3, 8, 40])
def test_a_square_image_becomes_the_same_in_each_way(decoding, side):
    image = made(side, side)
    assert same(resized(image, decoding), image.resize((8, 8), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("resize", RESIZE)
@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1), (3, 10_000)])
def test_the_longest_and_the_smallest_images_become_squares(resize, size):
    found = np.asarray(resized(Image.new("RGB", size, RED), Decoding.of(16, ImageConfig(resize=resize, pad_value=90))))
    assert (found.shape, found.dtype) == ((16, 16, 3), np.uint8)
    line = resize == "pad" and max(size) > 1
    assert (found == RED).all(axis=2).sum() == (16 if line else 256)
    assert (found == GREY).all(axis=2).sum() == (240 if line else 0)
    if line:
        middle = found[:, 7] if size[0] < size[1] else found[7]
        assert (middle == RED).all()


WIDE, TALL = [16, 32], [32, 16]


@pytest.mark.parametrize("resize", RESIZE)
def test_an_image_of_the_proportions_of_the_size_loses_nothing(resize):
    decoding = Decoding.of(WIDE, ImageConfig(resize=resize, pad_value=90))
    for image in (made(64, 32), made(32, 16), made(8, 4)):
        assert same(resized(image, decoding), image.resize((32, 16), Image.Resampling.BILINEAR))


def test_a_crop_covers_a_rectangle_and_shows_its_centre():
    # Of a square, the upper and the lower quarter are lost in a wide size, the left and the right one in a tall one.
    square = made(32, 32)
    assert same(resized(square, Decoding(WIDE, resize="crop")), square.crop((0, 8, 32, 24)))
    assert same(resized(square, Decoding(TALL, resize="crop")), square.crop((8, 0, 24, 32)))
    # Of a wider image, the ends.
    longer = made(48, 16)
    assert same(resized(longer, Decoding(WIDE, resize="crop")), longer.crop((8, 0, 40, 16)))


def test_padding_fills_a_rectangle_around_the_whole_image():
    square = made(16, 16)
    for size, place in ((WIDE, (8, 0, 24, 16)), (TALL, (0, 8, 16, 24))):
        found = resized(square, padding(size))
        assert (found.height, found.width) == tuple(size)
        assert same(found.crop(place), square)
        assert (np.asarray(found) == GREY).all(axis=2).sum() == 256
    # A wider image reaches from left to right.
    found = resized(stripes(4, 8, 16, 8), padding(WIDE))
    assert columns(found.crop((0, 6, 32, 10))) == [RED] * 8 + [GREEN] * 16 + [BLUE] * 8
    assert columns(found.crop((0, 0, 32, 6))) == columns(found.crop((0, 10, 32, 16))) == [GREY] * 32


@pytest.mark.parametrize("resize", RESIZE)
@pytest.mark.parametrize("sides", [(1, 10_000), (10_000, 1), (1, 1), (10_000, 4_999), (9_999, 5_000)])
@pytest.mark.parametrize("size", [WIDE, TALL, [1, 7]])
def test_the_longest_and_the_smallest_images_get_the_size(resize, sides, size):
    decoding = Decoding.of(size, ImageConfig(resize=resize, pad_value=90))
    found = np.asarray(resized(Image.new("RGB", sides, RED), decoding))
    assert found.shape == (*size, 3) == decoding.shape
    assert (found == RED).all(axis=2).any()
    assert ((found == RED) | (found == GREY)).all()
