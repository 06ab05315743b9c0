"""Images inside pages."""

import base64
import io

import numpy as np
from PIL import Image

from pipeline.visuals.thumbnails import data_uri


def test_a_data_uri_holds_a_small_jpeg():
    kind, _, data = data_uri(np.full((300, 300, 3), 200, np.uint8)).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (192, 192)
