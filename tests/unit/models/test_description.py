"""A model states how its images are decoded, in its file and in words."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from pipeline.config.image import Decoding
from pipeline.inputs.resizing import resized
from pipeline.models.archive import copy_archive, read_member
from pipeline.models.description import DECODING, describe, read_decoding
from pipeline.models.saving import save_classifier
from pipeline.system.errors import PipelineError
from tests.support.backbones import small, small_classifier

PADDED = Decoding(32, 12, "pad", [1, 2, 3])


@pytest.fixture(scope="module")
def model():
    return small_classifier(small("scratch_cnn"))


@pytest.mark.parametrize("decoding", [Decoding(32), Decoding(32, 12), Decoding(32, resize="crop"), PADDED])
def test_a_file_states_the_decoding(model, tmp_path, decoding):
    save_classifier(model, ["a", "b", "c"], tmp_path / "model.keras", decoding)
    assert read_decoding(tmp_path / "model.keras") == decoding


def test_a_file_of_a_stretching_model_is_as_it_was_before_there_was_a_choice(model, tmp_path):
    file = tmp_path / "model.keras"
    save_classifier(model, ["a", "b", "c"], file, Decoding(32, 12))
    assert read_member(file, DECODING) == {"depth": 12}
    # Before 16-bit files had a depth, nothing was stated.
    with zipfile.ZipFile(file) as members, zipfile.ZipFile(tmp_path / "older.keras", "w") as older:
        for name in set(members.namelist()) - {DECODING}:
            older.writestr(name, members.read(name))
    assert read_decoding(tmp_path / "older.keras") == Decoding(32, 16, "stretch")


@pytest.mark.parametrize("stated", [{"resize": "fit"}, {"depth": 16, "colours": "grey"}])
def test_a_file_of_a_later_version_is_not_read_otherwise_than_it_means(model, tmp_path, stated):
    save_classifier(model, ["a", "b", "c"], tmp_path / "model.keras")
    copy_archive(tmp_path / "model.keras", tmp_path / "later.keras", {DECODING: json.dumps(stated)})
    with pytest.raises(PipelineError, match=r"later\.keras decodes images in a way that this version does not know"):
        read_decoding(tmp_path / "later.keras")


def described(decoding: Decoding) -> dict:
    return describe(["a"], decoding, temperature=None, applied=False)


def test_the_description_has_the_settings_and_can_be_written_as_json():
    assert described(Decoding(32)).items() >= {"image_size": 32, "depth": 16, "resize": "stretch"}.items()
    padded = described(PADDED)
    assert padded.items() >= {"image_size": 32, "depth": 12, "resize": "pad", "pad_value": [1, 2, 3]}.items()
    assert json.loads(json.dumps(padded)) == padded
    assert "stretched to the square by Pillow's Image.resize" in described(Decoding(32))["decoding"][-1]
    wide = described(Decoding([24, 40]))
    assert (wide["image_size"], wide["input"]) == ([24, 40], "uint8 RGB [batch, 24, 40, 3], 0 to 255")
    assert "stretched to the rectangle (40 wide, 24 high) by Pillow's Image.resize" in wide["decoding"][-1]


@pytest.mark.parametrize("sides", [(50, 20), (20, 51), (7, 40), (1, 900), (33, 33)])
def test_the_words_are_enough_to_implement_it(sides):
    """By a second implementation, which keeps to the words."""
    w, h = sides
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=np.uint8))
    crop, pad = (described(each)["decoding"][3:] for each in (Decoding(32, resize="crop"), PADDED))
    assert crop[1].endswith("box is ((w - s) / 2, (h - s) / 2, (w + s) / 2, (h + s) / 2) with s = min(w, h)")
    s = min(w, h)
    box = ((w - s) / 2, (h - s) / 2, (w + s) / 2, (h + s) / 2)
    assert same(resized(image, Decoding(32, resize="crop")), image.resize((32, 32), Image.Resampling.BILINEAR, box))
    assert pad[1].endswith("max(1, round(32 * w / l)) and max(1, round(32 * h / l)) with l = max(w, h)")
    assert pad[2] == "put on a square of RGB [1, 2, 3], at ((32 - width) // 2, (32 - height) // 2)"
    longer = max(w, h)
    inner = image.resize((max(1, round(32 * w / longer)), max(1, round(32 * h / longer))), Image.Resampling.BILINEAR)
    expected = np.full((32, 32, 3), [1, 2, 3], np.uint8)
    left, top = (32 - inner.width) // 2, (32 - inner.height) // 2
    expected[top : top + inner.height, left : left + inner.width] = inner
    assert np.array_equal(np.asarray(resized(image, PADDED)), expected)


def same(image: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(image), np.asarray(other))


@pytest.mark.parametrize("sides", [(50, 20), (20, 51), (7, 40), (1, 900), (900, 1), (50, 30)])
def test_the_words_for_a_rectangle_are_enough_to_implement_it(sides):
    w, h = sides
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=np.uint8))
    cropping, padding = Decoding([24, 40], resize="crop"), Decoding([24, 40], 12, "pad", [1, 2, 3])
    crop, pad = (described(each)["decoding"][3:] for each in (cropping, padding))
    assert crop[0].startswith("the part of 40 to 24 in the middle resized by")
    assert crop[1] == (
        "its argument box is ((w - a) / 2, (h - b) / 2, (w + a) / 2, (h + b) / 2) "
        "with a = min(w, h * 40 / 24) and b = min(h, w * 24 / 40)"
    )
    a, b = min(w, h * 40 / 24), min(h, w * 24 / 40)
    expected = image.resize((40, 24), Image.Resampling.BILINEAR, ((w - a) / 2, (h - b) / 2, (w + a) / 2, (h + b) / 2))
    assert same(resized(image, cropping), expected)
    assert pad[1] == (
        "the sides are max(1, round(w * l / s)) and max(1, round(h * l / s)) with l, s = 40, w if w * 24 >= h * 40, else 24, h"
    )
    l, s = (40, w) if w * 24 >= h * 40 else (24, h)  # noqa: E741 (the word)
    inner = image.resize((max(1, round(w * l / s)), max(1, round(h * l / s))), Image.Resampling.BILINEAR)
    assert pad[2] == (
        "put on a rectangle (40 wide, 24 high) of RGB [1, 2, 3], at ((40 - width) // 2, (24 - height) // 2)"
    )
    whole = np.full((24, 40, 3), [1, 2, 3], np.uint8)
    left, top = (40 - inner.width) // 2, (24 - inner.height) // 2
    whole[top : top + inner.height, left : left + inner.width] = inner
    assert np.array_equal(np.asarray(resized(image, padding)), whole)


def test_a_file_states_a_rectangle(tmp_path):
    config = small("scratch_cnn")
    config.image_size = [32, 48]
    save_classifier(small_classifier(config), ["a", "b", "c"], tmp_path / "model.keras")
    assert read_decoding(tmp_path / "model.keras") == Decoding([32, 48])
