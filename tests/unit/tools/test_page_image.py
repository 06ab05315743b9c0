import shutil

import pytest
from PIL import Image

from tools.page_image import take


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_the_image_is_the_upper_part_of_the_page(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<body style='margin:0'><div style='background:#f00;height:50px'></div></body>")
    take(page, tmp_path / "page.png", 600, 400)
    image = Image.open(tmp_path / "page.png").convert("RGB")
    assert image.size == (600, 400)
    assert image.getpixel((300, 25)) == (255, 0, 0)
    assert image.getpixel((300, 100)) == (255, 255, 255)
