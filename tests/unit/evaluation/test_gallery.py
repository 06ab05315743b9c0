"""Which images are shown, and how."""

import base64
import io

import numpy as np
from PIL import Image

from pipeline.evaluation.gallery import least_confident_hits, most_confident_mistakes
from pipeline.visuals.thumbnails import data_uri

LABELS = np.array([0, 0, 1, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.55, 0.45], [0.05, 0.95]])


def test_the_surest_mistakes_and_the_hits_that_were_nearly_none():
    assert most_confident_mistakes(LABELS, PROBABILITIES, 5).tolist() == [1, 3]
    assert most_confident_mistakes(LABELS, PROBABILITIES, 1).tolist() == [1]
    assert least_confident_hits(LABELS, PROBABILITIES, 2).tolist() == [2, 0]
    assert least_confident_hits(LABELS, PROBABILITIES, 0).tolist() == []
    assert most_confident_mistakes(LABELS[:1], PROBABILITIES[:1], 3).tolist() == []


def test_a_picture_stands_in_its_address():
    kind, _, data = data_uri(np.full((300, 300, 3), 200, np.uint8)).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (192, 192)
