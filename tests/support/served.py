"""Answers of a served model, and an image that is too large for it."""

import io

import numpy as np
import pytest
from PIL import Image


def agrees(answer, expected):
    name, probabilities = expected
    assert answer["class"] == name
    assert answer["probability"] == pytest.approx(probabilities.max(), abs=1e-5)
    np.testing.assert_allclose(list(answer["probabilities"].values()), probabilities, atol=1e-5)


def huge() -> bytes:
    """A small PNG file that says it is 40,000 pixels wide and high."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    return bytes(data)
