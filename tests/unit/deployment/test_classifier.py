"""Decoding of images that anyone may send to a server."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pipeline.config.image import Decoding
from pipeline.deployment import classifier as module
from pipeline.deployment.classifier import decode_upload
from pipeline.inputs.decoding import SAFE_PIXELS, UndecodableError, pixels


@pytest.fixture
def image():
    buffer = io.BytesIO()
    Image.effect_noise((60, 40), 90).save(buffer, "PNG")
    return buffer.getvalue()


def test_large_images_take_turns_and_others_do_not(image, monkeypatch):
    under_way, most, lock = {}, {}, threading.Lock()

    def counted(data, decoding, limit):
        with lock:
            under_way[limit] = under_way.get(limit, 0) + 1
            most[limit] = max(most.get(limit, 0), under_way[limit])
        try:
            time.sleep(0.02)
            return pixels(data, decoding, limit)
        finally:
            with lock:
                under_way[limit] -= 1

    monkeypatch.setattr(module, "pixels", counted)
    monkeypatch.setattr(module, "CONCURRENT_PIXELS", 1000)
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: decode_upload(image, Decoding(16)), range(8)))
    assert most[1000] > 1
    assert most[SAFE_PIXELS] == 1
    assert all(np.array_equal(answer, pixels(image, Decoding(16))) for answer in answers)


def test_what_is_too_large_or_damaged_is_refused_as_anywhere(image, monkeypatch):
    monkeypatch.setattr(module, "CONCURRENT_PIXELS", 1000)
    with pytest.raises(UndecodableError, match="damaged"):
        decode_upload(image[:200], Decoding(16))
    monkeypatch.setattr(module, "SAFE_PIXELS", 2000)
    with pytest.raises(UndecodableError, match="60x40 are more than 2000 pixels"):
        decode_upload(image, Decoding(16))
