"""Disk space that jobs need in the cache."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.config.compose import composed
from pipeline.config.image import Decoding
from pipeline.config.validate import check
from pipeline.inputs.images import decoded_depends
from pipeline.jobs.disk import Prepared, cache_needs, free_space
from pipeline.storage.entries import Entry
from pipeline.storage.files import write_json

COUNTS = {"all": 100, "train": 60, "validation": 20, "test": 20}
ALL = {"prepare", "train", "finetune", "evaluate", "report"}
DECODED = [80 * 32 * 32 * 3, 20 * 32 * 32 * 3]


def needs(*overrides: str, computed=ALL, counts=COUNTS, folder=None, entries=()):
    config = check(composed(["image_size=32", "backbone=scratch_cnn", *overrides]))
    return list(cache_needs(config, Prepared("k", counts, folder), computed, list(entries)).values())


def entry(**holds) -> Entry:
    return Entry(Path("entry"), Path("lock"), 0, 0.0, holds)


def features(shape: str, dtype: str, **more) -> Entry:
    return entry(**{"kind": "frozen", "backbone": "VGG16", "image_size": 32, "shape": shape, "dtype": dtype, **more})


@pytest.fixture
def prepared(tmp_path) -> Path:
    """A manifest of three images."""
    rows = pd.DataFrame({"split": ["train", "validation", "test"], "sha256": ["a", "b", "c"]})
    rows.to_parquet(tmp_path / "manifest.parquet")
    write_json(tmp_path / "classes.json", ["x"])
    return tmp_path


def test_images_are_decoded_at_each_size_for_the_stages_that_read_them():
    assert needs() == DECODED
    assert needs(computed={"train", "report"}) == DECODED[:1]
    assert needs(computed={"prepare", "report"}) == []
    assert sorted(needs("finetune.image_size=64", computed={"finetune"})) == [DECODED[0], 4 * DECODED[0]]
    assert needs(counts=None) == [None, None]


def test_images_above_the_limit_are_not_cached():
    assert needs("hardware.image_cache_gib=0") == [0, 0]


def test_features_are_as_large_as_the_two_largest_kinds_of_the_backbone():
    entries = [features("512", "float32"), features("2x2x512", "bfloat16"), features("10", "float32")]
    arguments = ["backbone=vgg16", "augment.views=2"]
    assert needs(*arguments, entries=entries) == [DECODED[0], (80 + 2 * 60) * (2048 + 4096), DECODED[1], 20 * 6144]
    assert needs(*arguments) == [DECODED[0], None, DECODED[1], None]
    assert needs(*arguments, "hardware.feature_cache_gib=0", entries=entries) == [DECODED[0], 0, DECODED[1], 0]


def test_what_the_cache_has_of_these_images_needs_nothing(prepared):
    decoded = decoded_depends(["a", "b"], Decoding(32, resize="crop"))
    entries = [entry(kind="images", **decoded), features("512", "float32", **decoded)]
    assert needs("backbone=vgg16", folder=prepared, entries=entries) == [DECODED[1], 20 * 2048]


@pytest.mark.parametrize("other", ["image.resize=stretch", "image.resize=pad", "image_size=64"])
def test_images_that_were_decoded_otherwise_are_others(prepared, other):
    cropped = [
        entry(kind="images", **decoded_depends([sha256], Decoding(32, resize="crop"))) for sha256 in ("a", "b", "c")
    ]
    cropped.append(entry(kind="images", **decoded_depends(["a", "b"], Decoding(32, resize="crop"))))
    assert needs(folder=prepared, entries=cropped) == []
    assert len(needs(other, folder=prepared, entries=cropped)) == 2
    padded = [entry(kind="images", **decoded_depends(["c"], Decoding(32, resize="pad", pad_value=[9, 9, 9])))]
    assert needs("image.resize=pad", "image.pad_value=9", folder=prepared, entries=padded) == DECODED[:1]
    assert needs("image.resize=pad", "image.pad_value=8", folder=prepared, entries=padded) == DECODED


def test_free_space_is_that_of_the_nearest_folder(tmp_path):
    assert free_space(tmp_path / "missing" / "cache") > 0


def test_a_rectangle_needs_its_pixels_and_is_another_than_its_transpose(prepared):
    assert needs("image_size=[32,96]") == [3 * size for size in DECODED]
    assert needs("finetune.phases=[{image_size:[32,64]},{image_size:[32,64]}]", computed={"finetune"}) == [
        DECODED[0], 2 * DECODED[0]
    ]  # fmt: skip
    wide = [
        entry(kind="images", **decoded_depends(sha256, Decoding([32, 64], resize="crop")))
        for sha256 in (["a", "b"], ["c"])
    ]
    assert needs("image_size=[32,64]", folder=prepared, entries=wide) == []
    assert len(needs("image_size=[64,32]", folder=prepared, entries=wide)) == 2
    known = [features("1x2x512", "float32", image_size=[32, 64]), features("2x1x64", "float32", image_size=[64, 32])]
    assert needs("backbone=vgg16", "image_size=[64,32]", "augment.views=0", entries=known)[1] == 80 * 2 * 64 * 4
