"""Pages: what users name may be anything, and stays text."""

import pytest

from pipeline.visuals.pages import render


def test_names_are_escaped():
    card = {"name": "<b>.png", "heading": "<script>alert(1)</script>", "lines": ["a & b"], "image_uri": None}
    page = render("thumbnails.html", title="<i>", introduction="", groups={"<u>": [card]})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; b" in page
    assert not any(tag in page for tag in ("<script>alert", "<i>", "<u>"))


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(Exception, match="introduction"):
        render("thumbnails.html", title="title", groups={})
