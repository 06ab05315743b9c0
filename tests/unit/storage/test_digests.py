"""Digests of files: of their content, which is read only if a file has changed."""

import hashlib
import os
import time

import pytest

from pipeline.storage import digests
from pipeline.storage.digests import file_digests


@pytest.fixture
def read(monkeypatch):
    """The files whose content was read."""
    seen, original = [], digests.file_sha256
    monkeypatch.setattr(digests, "file_sha256", lambda file: seen.append(file.name) or original(file))
    # Files count as settled at once.
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**9))
    return seen


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    for name in "ab":
        (tmp_path / "files" / name).write_text(name)
    return tmp_path / "files"


def test_they_are_of_the_content_and_files_are_read_once(folder, tmp_path, read):
    expected = [hashlib.sha256(name.encode()).hexdigest() for name in "ba"]
    assert file_digests(folder, ["b", "a"], tmp_path / "cache") == expected
    assert sorted(read) == ["a", "b"]
    assert file_digests(folder, ["b", "a"], tmp_path / "cache") == expected
    assert len(read) == 2


def test_an_edit_that_keeps_size_and_time_is_seen(folder, tmp_path, read):
    [before] = file_digests(folder, ["a"], tmp_path / "cache")
    status = (folder / "a").stat()
    (folder / "a").write_text("c")
    os.utime(folder / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    [after] = file_digests(folder, ["a"], tmp_path / "cache")
    assert after == hashlib.sha256(b"c").hexdigest() != before


def test_a_file_that_has_just_been_written_is_read_again(folder, tmp_path, read, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_NS", 10**12)
    for _ in range(2):
        file_digests(folder, ["a"], tmp_path / "cache")
    assert read == ["a", "a"]


def test_what_is_no_readable_file_has_none(folder, tmp_path, read):
    os.mkfifo(folder / "pipe")
    (folder / "sub").mkdir()
    started = time.monotonic()
    assert file_digests(folder, ["gone", "pipe", "sub", "a"], tmp_path / "cache")[:3] == ["", "", ""]
    assert time.monotonic() - started < 60
    assert read == ["a"]


def test_a_name_that_is_not_utf8(folder, tmp_path, read):
    name = os.fsdecode(b"\xff")
    (folder / name).write_text("x")
    assert file_digests(folder, [name], tmp_path / "cache") == [hashlib.sha256(b"x").hexdigest()]


def test_a_cache_that_can_not_be_written_to_is_not_needed(folder, tmp_path, read, monkeypatch):
    expected = file_digests(folder, ["a"], tmp_path / "cache")
    monkeypatch.setattr("pipeline.storage.database.is_writable", lambda folder: False)
    assert file_digests(folder, ["a"], tmp_path / "cache") == expected
    assert file_digests(folder, ["b"], tmp_path / "nowhere") == [hashlib.sha256(b"b").hexdigest()]
    assert read == ["a", "b"]
    assert not (tmp_path / "nowhere").exists()
