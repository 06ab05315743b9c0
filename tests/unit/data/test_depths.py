"""All 16-bit files of a data set are scaled from one depth, and a mixed set is named."""

import logging

import numpy as np
import pandas as pd
import pytest

from pipeline.data.curation import curate
from pipeline.data.depths import depth_message
from pipeline.data.inspection import STATISTICS, inspect
from pipeline.data.sources import list_images
from pipeline.inputs.decoding import decode
from pipeline.inputs.manifest import sample_depth
from pipeline.stages.prepare import run
from pipeline.stages.settings import Places, PrepareSettings
from pipeline.storage.cache import Cache
from pipeline.storage.files import read_json
from tests.support.datasets import dataset, photo
from tests.support.png import encode


def write(folder, depths: dict[str, int | None]):
    """Photos in files of 16 bits, of which the given depth is used; None: files of 8 bits."""
    for number, (place, depth) in enumerate(depths.items()):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        samples = np.asarray(photo(number, 96, 72))
        if depth:
            samples = (samples * ((2**depth - 1) / 255)).round().astype(np.uint16)
            samples[0, 0] = 2**depth - 1
        (folder / place).write_bytes(encode(samples))
    return folder


@pytest.fixture
def mixed(tmp_path):
    depths = {f"{label}/{number}.png": 12 for label in "xy" for number in range(8)}
    return write(tmp_path / "images", depths | {"x/8.png": 10, "y/8.png": None, "y/9.png": 10})


def curated(folder):
    config = dataset(folder, "dataset.min_images_per_class=3")
    listing = list_images(config)
    inspected = inspect(folder, listing.images, folder.parent / "cache", config.max_pixels)
    return curate(inspected, listing.classes, config, 1)


def test_the_largest_depth_counts_for_all(mixed):
    found = curated(mixed)
    rows = found.manifest.set_index("path")
    assert rows["depth"].isna().sum() == 1
    assert pd.isna(rows.loc["y/8.png", "depth"])
    assert set(rows["depth"].dropna()) == {12}
    assert sample_depth(found.manifest) == 12
    assert found.depths == {"10": 2, "12": 16}
    # The statistics are those of the images that training sees.
    for path in ("x/0.png", "x/8.png", "y/8.png"):
        grey = np.asarray(decode((mixed / path).read_bytes(), depth=12).image.convert("L"), float)
        assert rows.loc[path, "brightness"] == pytest.approx(grey.mean(), abs=1)
        assert rows.loc[path, "contrast"] == pytest.approx(grey.std(), rel=0.25)


def test_files_of_8_bits_have_statistics_as_ever(tmp_path):
    folder = write(tmp_path / "images", {f"{label}/{number}.png": None for label in "xy" for number in range(8)})
    found = curated(folder)
    assert found.depths == {}
    assert sample_depth(found.manifest) == 16
    inspected = inspect(folder, list_images(dataset(folder)).images, tmp_path / "cache", 10**8).table
    pd.testing.assert_frame_equal(found.manifest[list(STATISTICS)], inspected[list(STATISTICS)])


def test_copies_at_another_depth_are_duplicates(tmp_path):
    """The hashes of nearly black images would not show it."""
    folder = write(tmp_path / "images", {f"{label}/{number}.png": 12 for label in "xy" for number in range(8)})
    (folder / "x" / "copy.png").write_bytes(encode(np.asarray(photo(0, 96, 72))))
    found = curated(folder).duplicates
    assert found["path"].tolist() == ["x/0.png", "x/copy.png"]


def test_prepare_says_the_depth_and_warns_of_a_mixed_set(mixed, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "out").mkdir()
    settings = PrepareSettings(1, dataset(mixed, "dataset.min_images_per_class=3"))
    run(settings, Places(mixed, None, None, Cache(tmp_path / "cache")), tmp_path / "out")
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert (metrics["depth"], metrics["depths"]) == (12, {"10": 2, "12": 16})
    [said] = [record for record in caplog.records if "files of 16 bits" in record.message]
    assert said.levelno == logging.WARNING
    assert said.message.startswith(
        "18 files of 16 bits: 2 use 10 bits, 16 use 12 bits. All of them, and those to predict"
    )


def test_one_depth_is_no_warning():
    message = depth_message(12, {"12": 16})
    assert message == "16 files of 16 bits: 16 use 12 bits. All of them, and those to predict, are scaled from 12 bits"
