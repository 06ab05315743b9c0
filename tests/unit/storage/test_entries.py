"""Entries are measured, and removed only if nobody holds their lock."""

import os

from filelock import FileLock

from pipeline.storage.entries import Entry, folder_size, unfinished
from pipeline.storage.files import whole_folder


def entry(folder) -> Entry:
    (folder / "a" / "sub").mkdir(parents=True)
    (folder / "a" / "one").write_bytes(b"x" * 10)
    (folder / "a" / "sub" / "two").write_bytes(b"x" * 5)
    os.utime(folder / "a" / "one", (100, 100))
    return Entry.of(folder / "a", folder / ".a.lock", folder / "a" / "one", {"kind": "numbers"})


def test_size_and_last_use(tmp_path):
    made = entry(tmp_path)
    assert (made.size, made.used) == (15, 100)
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    assert folder_size(tmp_path / "a") < 15 + 4096
    assert folder_size(tmp_path / "nothing") == 0


def test_what_is_locked_stays(tmp_path):
    made = entry(tmp_path)
    with FileLock(made.lock):
        assert not made.remove()
        assert not made.remove(dry_run=True)
    assert made.remove(dry_run=True)
    assert made.folder.exists()
    assert made.remove()
    assert not made.folder.exists()


def test_an_unfinished_entry_has_the_lock_of_the_finished_one(tmp_path):
    with whole_folder(tmp_path / "train-1a2b") as folder:
        (folder / "file").write_bytes(b"x" * 7)
        [found] = unfinished(tmp_path)
        assert (found.folder, found.lock, found.size) == (folder, tmp_path / ".train-1a2b.lock", 7)
    assert unfinished(tmp_path) == []
