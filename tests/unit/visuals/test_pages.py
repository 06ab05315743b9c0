"""Pages: what users name may be anything, and stays text; images are small and inside."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.visuals.pages import along, data_uri, heat_scale, overlay, render, scale


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
