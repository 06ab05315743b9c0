"""The report's map: similar images are close, and mistakes stand out."""

import numpy as np
import pandas as pd

from pipeline.reports.image_map import HEIGHT, WIDTH, image_map
from pipeline.visuals.style import SERIES

RNG = np.random.default_rng(1)


def three_groups() -> tuple[pd.DataFrame, np.ndarray]:
    labels = np.repeat(["a", "b", "c"], 12)
    vectors = np.repeat(np.eye(3), 12, axis=0) + RNG.normal(0, 0.05, (36, 3))
    images = pd.DataFrame({"path": [f"{n}.png" for n in range(36)], "label": labels, "prediction": labels})
    images.loc[5, "prediction"] = "c"
    return images, vectors.astype(np.float32)


def test_images_of_a_group_are_close_and_a_mistake_has_a_ring():
    images, vectors = three_groups()
    drawn = image_map(images, vectors, ["a", "b", "c"])
    assert drawn["legend"] == list(zip("abc", SERIES, strict=False))
    points = pd.DataFrame(drawn["points"])
    places = points[["x", "y"]].astype(float).to_numpy()
    assert (places >= 0).all()
    assert (places <= [WIDTH, HEIGHT]).all()
    # The nearest other image of each image is of the same class.
    gaps = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(36, np.inf))
    assert (points["colour"].to_numpy()[gaps.argmin(axis=1)] == points["colour"]).all()
    # The mistake is drawn last.
    assert points["title"].iloc[-1] == "5.png: a, predicted c"
    assert (points["colour"].iloc[-1], points["ring"].iloc[-1]) == (SERIES[0], SERIES[2])
    assert points["ring"].iloc[:-1].isna().all()
    assert image_map(images, vectors, ["a", "b", "c"]) == drawn


def test_of_many_classes_those_with_mistakes_have_colours():
    classes = [f"class {number:02}" for number in range(30)]
    images = pd.DataFrame({"path": [f"{name}.png" for name in classes], "label": classes, "prediction": classes})
    images.loc[29, "prediction"] = "class 17"
    legend = dict(image_map(images, RNG.normal(size=(30, 8)).astype(np.float32), classes)["legend"])
    assert len(legend) == len(SERIES) + 1
    assert {"class 17", "class 29", "other classes"} <= set(legend)


def test_too_few_images_have_no_map_and_equal_ones_do():
    images, vectors = three_groups()
    assert image_map(images[:9], vectors[:9], ["a", "b", "c"]) is None
    assert image_map(images[:0], vectors[:0], ["a", "b", "c"]) is None
    assert len(image_map(images, np.zeros((36, 1), np.float32), ["a", "b", "c"])["points"]) == 36
