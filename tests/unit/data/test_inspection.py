"""Each content is inspected once, wherever it lies, and not at all what an interrupted scan had done."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.data import inspection
from pipeline.data.inspection import inspect
from pipeline.data.listing import list_folder
from pipeline.storage import files
from pipeline.system.errors import PipelineError
from tests.support.images import draw, write_images

LIMIT = 10**8


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "images", per_class=6)


@pytest.fixture
def read(monkeypatch):
    """The files that were opened."""
    seen, original = [], inspection._read
    monkeypatch.setattr(inspection, "_read", lambda file, limit: seen.append(Path(file).name) or original(file, limit))
    return seen


def scan(folder):
    return inspect(folder, list_folder(folder).images, folder.parent / "cache", LIMIT)


def equal(one, other) -> bool:
    return (
        one.table.equals(other.table)
        and np.array_equal(one.hashes, other.hashes)
        and np.array_equal(one.mirrored, other.mirrored)
    )


def test_what_is_known_is_not_read_again(folder, read):
    first = scan(folder)
    assert len(read) == 18
    assert equal(scan(folder), first)
    assert len(read) == 18


def test_only_new_and_changed_files_are_read(folder, read):
    before = scan(folder)
    read.clear()
    draw((9, 9, 9), 1).save(folder / "red" / "new.png")
    draw((9, 9, 9), 2).save(folder / "blue" / "001.png")
    (folder / "green" / "002.png").unlink()
    after = scan(folder)
    assert sorted(read) == ["001.png", "new.png"]
    assert "green/002.png" not in set(after.table["path"])
    both = before.table.merge(after.table, on="path")
    assert both.loc[both["sha256_x"] != both["sha256_y"], "path"].tolist() == ["blue/001.png"]


def test_copies_are_not_decoded_again(folder, read, tmp_path):
    first = scan(folder)
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    read.clear()
    assert equal(scan(tmp_path / "copy"), first)
    assert read == []


def test_an_edit_that_keeps_size_and_time_is_seen(folder, read):
    file = folder / "red" / "001.png"
    scan(folder)
    before, status = file.read_bytes(), file.stat()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    read.clear()
    table = scan(folder).table.set_index("path")
    assert read == ["001.png"]
    assert table["sha256"]["red/001.png"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_that_changes_meanwhile_is_an_error(folder, monkeypatch):
    original = inspection._read

    def changed(file, limit):
        return original(file, limit) | {"sha256": "0" * 64}

    monkeypatch.setattr(inspection, "_read", changed)
    with pytest.raises(PipelineError, match="was changed while it was read; run the same command again"):
        scan(folder)


def test_an_interrupted_scan_goes_on_where_it_was(folder, read, monkeypatch):
    monkeypatch.setattr(inspection, "_CHUNK", 4)
    original = inspection._read

    def interrupted(file, limit):
        # In the fourth chunk.
        if file.endswith("red/002.png"):
            raise KeyboardInterrupt
        return original(file, limit)

    monkeypatch.setattr(inspection, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scan(folder)
    monkeypatch.setattr(inspection, "_read", original)
    read.clear()
    whole = scan(folder)
    assert 0 < len(read) <= 18 - 12
    assert whole.table["reason"].isna().all()


def test_a_file_that_could_not_be_read_is_tried_again(folder, monkeypatch):
    def refused(file, *rest):
        if str(file).endswith("red/000.png"):
            raise PermissionError(13, "Permission denied")
        return open(file, *rest)

    with monkeypatch.context() as context:
        context.setattr(inspection, "open", refused, raising=False)
        context.setattr(files, "open", refused, raising=False)
        assert scan(folder).table.set_index("path")["reason"]["red/000.png"] == "Permission denied"
    assert scan(folder).table["reason"].isna().all()


def test_another_reader_reads_anew(folder, read):
    scan(folder)
    inspect(folder, list_folder(folder).images, folder.parent / "cache", LIMIT + 1)
    assert len(read) == 36


def test_statistics_are_those_of_the_picture(tmp_path):
    from PIL import Image

    (tmp_path / "images" / "x").mkdir(parents=True)
    Image.new("RGB", (100, 50), (200, 100, 50)).save(tmp_path / "images" / "x" / "a.png")
    (tmp_path / "images" / "y").mkdir()
    Image.effect_noise((100, 100), 50).save(tmp_path / "images" / "y" / "b.png")
    table = scan(tmp_path / "images").table
    flat, noise = table.iloc[0], table.iloc[1]
    assert (flat["brightness"], flat["contrast"], flat["saturation"]) == (pytest.approx(124, abs=1), 0, 150)
    assert (flat["detail"], noise["saturation"]) == (pytest.approx(0, abs=1e-6), 0)
    assert noise["contrast"] > 10
    assert (flat["width"], flat["height"], flat["format"], flat["orientation"]) == (100, 50, "PNG", 1)


def test_a_listing_of_which_nothing_can_be_read(tmp_path):
    (tmp_path / "images" / "x").mkdir(parents=True)
    (tmp_path / "images" / "y").mkdir()
    for name in ("x/a.png", "y/b.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    table = scan(tmp_path / "images").table
    assert table["reason"].tolist() == ["empty file"] * 2
    assert pd.isna(table["width"]).all()


def test_damaged_readings_are_made_again(folder, read, caplog):
    before = scan(folder)
    [database] = (folder.parent / "cache" / "readings").iterdir()
    database.write_bytes(database.read_bytes()[:3000] + b"damage" * 1000)
    assert equal(scan(folder), before)
    assert len(read) == 36
    assert "is damaged; the images are read again" in caplog.text
