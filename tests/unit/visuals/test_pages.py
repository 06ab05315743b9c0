"""Pages: what users name may be anything, and stays text; images are small and inside."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.visuals.pages import data_uri, render


def test_names_are_escaped():
    card = {"name": "<b>.png", "heading": "<script>alert(1)</script>", "lines": ["a & b"], "image_uri": None}
    page = render("thumbnails.html", title="<i>", introduction="", groups={"<u>": [card]})
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
