"""Pages: what users name may be anything, and stays text; images are small and inside."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.visuals.pages import along, data_uri, heat_scale, mosaic_uri, overlay, render, scale


def test_names_are_escaped():
    card = {"path": "%3Cb%3E.png", "name": "<b>.png", "heading": "<script>alert(1)</script>", "lines": ["a & b"]}
    group = {"title": "<u>", "note": "", "cards": [card | {"image_uri": None}]}
    page = render("thumbnails.html", title="<i>", introduction="", groups=[group])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; b" in page
    assert not any(tag in page for tag in ("<script>alert", "<i>", "<u>"))


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(Exception, match="introduction"):
        render("thumbnails.html", title="title", groups={})


def test_a_data_uri_holds_a_small_jpeg():
    kind, _, data = data_uri(np.full((300, 300, 3), 200, np.uint8)).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (192, 192)


def shown(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_images_keep_their_proportions():
    assert shown(data_uri(np.full((100, 400, 3), 200, np.uint8))).size == (192, 48)
    assert shown(data_uri(np.full((400, 100, 3), 200, np.uint8))).size == (48, 192)
    assert shown(data_uri(np.full((20, 60, 3), 200, np.uint8))).size == (60, 20)
    # Two rows of three images, enlarged twice, with gaps.
    images = np.zeros((2, 3, 16, 48, 3), np.uint8)
    images[1, 2] = 250
    mosaic = shown(mosaic_uri(images))
    assert mosaic.size == (3 * 96 + 2 * 3, 2 * 32 + 3)
    pixels = np.asarray(mosaic.convert("L"))
    assert pixels[-28:, -90:].min() > 200
    assert pixels[:30].max() < 180
    assert pixels[:, :190].max() < 180


@pytest.mark.parametrize(
    ("lowest", "highest", "ends"),
    [(0.78, 1, (0.7, 1)), (0.924, 0.996, (0.92, 1)), (0, 0.105, (0, 0.2)), (1, 1, (1, 1.001))],
)
def test_an_axis_shows_the_differences_between_values(lowest, highest, ends):
    assert scale(lowest, highest) == pytest.approx(ends)
    assert along(ends[0], ends) == "0.00%"
    assert along(ends[1] + 1, ends) == "100.00%"


def test_an_image_keeps_its_colours_where_nothing_supports_the_class():
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[0, 0] = 1
    blended = overlay(image, heatmap)
    assert np.array_equal(blended[1:], image[1:])
    # A quarter of the image, and three quarters of the scale's last colour.
    assert blended[0, 0] == pytest.approx(0.25 * image[0, 0] + 0.75 * np.array([240, 249, 33]), abs=1)
    assert heat_scale().endswith("rgb(240, 249, 33, 0.75))")
