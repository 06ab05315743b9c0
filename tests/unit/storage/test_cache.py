"""Entries are whole, verified, built once, and can be listed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pipeline.storage import shards
from pipeline.storage.cache import Cache

ROWS = np.arange(60, dtype=np.float32).reshape(20, 3)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Cache:
    # Seven rows a shard.
    monkeypatch.setattr(shards, "_SHARD_BYTES", 7 * 3 * 4)
    return Cache(tmp_path / "cache")


def build(append):
    for start in range(0, 20, 4):
        append(ROWS[start : start + 4])


def never(append):
    raise AssertionError("built again")


def entry(cache, build, **depends):
    return cache.rows("numbers", {"a": 1} | depends, shape=(3,), dtype="float32", build=build)


def test_rows_come_back_in_any_order_from_several_shards(cache):
    rows = entry(cache, build)
    assert len(rows) == 20
    wanted = np.array([19, 0, 7, 6, 7])
    assert np.array_equal(rows.take(wanted), ROWS[wanted])
    assert len(list(cache.folder.glob("numbers-*/*.bin"))) == 3
    assert np.array_equal(entry(cache, never).take(wanted), ROWS[wanted])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8"])
def test_other_types(cache, dtype):
    values = ROWS.astype(np.dtype(dtype))
    rows = cache.rows("numbers", {}, shape=(3,), dtype=dtype, build=lambda append: append(values))
    assert rows.take(np.arange(20)).dtype == values.dtype
    assert np.array_equal(rows.take(np.arange(20)), values)


def test_whatever_an_entry_depends_on_makes_another_one(cache):
    entry(cache, build)
    built = []
    entry(cache, lambda append: (built.append(1), build(append)), a=2)
    assert built


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "entry", "no entry"])
def test_a_damaged_entry_is_built_again_with_a_warning(cache, damage, caplog):
    entry(cache, build)
    shard = sorted(cache.folder.glob("numbers-*/*.bin"))[1]
    if damage == "flip":
        data = bytearray(shard.read_bytes())
        data[5] ^= 1
        shard.write_bytes(data)
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "remove":
        shard.unlink()
    elif damage == "entry":
        (shard.parent / "entry.json").write_text("{")
    else:
        (shard.parent / "entry.json").unlink()
    assert np.array_equal(entry(cache, build).take(np.arange(20)), ROWS)
    assert "are damaged" in caplog.text
    assert np.array_equal(entry(cache, never).take(np.arange(20)), ROWS)


def test_a_builder_that_fails_leaves_nothing(cache):
    def fails(append):
        append(ROWS[:4])
        raise KeyError("no")

    with pytest.raises(KeyError):
        entry(cache, fails)
    assert not list(cache.folder.glob("*numbers-*/"))
    assert not cache.has("numbers", {"a": 1})


def test_rows_of_another_form_than_promised_are_refused(cache):
    with pytest.raises(ValueError, match="float64"):
        entry(cache, lambda append: append(ROWS.astype(np.float64)))


BUILDER = """
import sys, time
from pathlib import Path
import numpy as np
from pipeline.storage.cache import Cache

def build(append):
    print("building", flush=True)
    for start in range(0, 20, 4):
        append(np.arange(60, dtype=np.float32).reshape(20, 3)[start:start + 4])
        time.sleep(float(sys.argv[2]))

rows = Cache(Path(sys.argv[1])).rows("numbers", {"a": 1}, shape=(3,), dtype="float32", build=build)
print(float(rows.take(np.arange(20)).sum()), flush=True)
"""


def start(cache, command, tmp_path, pause):
    (tmp_path / "builder.py").write_text(BUILDER)
    return subprocess.Popen(
        [sys.executable, "builder.py", str(cache.folder), str(pause)],
        cwd=tmp_path,
        env=command.environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_processes_one_builds_and_the_other_waits(cache, command, tmp_path):
    processes = [start(cache, command, tmp_path, 0.2) for _ in range(2)]
    said = "".join(process.communicate(timeout=60)[0] for process in processes)
    assert said.count("building") == 1
    assert said.count(str(float(ROWS.sum()))) == 2


def test_a_killed_builder_holds_nobody_up_and_leaves_nothing_behind(cache, command, tmp_path):
    process = start(cache, command, tmp_path, 60)
    assert process.stdout.readline() == "building\n"
    while not list(cache.folder.glob(".numbers-*/*.bin")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert np.array_equal(entry(cache, build).take(np.arange(20)), ROWS)
    assert not list(cache.folder.glob(".numbers-*/"))


def test_entries_are_listed_with_their_last_use_and_their_maker(cache):
    entry(Cache(cache.folder, "vgg16 flowers"), build, a=1)
    [made] = cache.listing()
    assert (made.holds["kind"], made.holds["made_by"], made.holds["a"]) == ("numbers", "vgg16 flowers", 1)
    assert made.size > 240
    os.utime(made.folder / "entry.json", (1, 1))
    assert [each.used for each in cache.listing()] == [1]
    entry(cache, never, a=1)
    assert cache.listing()[0].used > 1


def test_opened_entries_are_known(cache):
    entry(cache, build, a=1)
    entry(cache, build, a=2)
    again = Cache(cache.folder)
    entry(again, never, a=2)
    assert len(cache.used) == 2
    assert again.used < cache.used


def test_an_entry_that_is_being_built_is_listed_and_stays(cache):
    def building(append):
        build(append)
        [unfinished] = cache.listing()
        assert unfinished.holds == {"kind": "unfinished"}
        assert not unfinished.remove()

    entry(cache, building)
    assert [each.holds["kind"] for each in cache.listing()] == ["numbers"]


def test_what_does_not_fit_is_known_before_it_is_built(cache):
    gib = 240 / 2**30
    assert cache.fits("numbers", {}, count=20, shape=(3,), dtype="float32", gib=gib)
    assert not cache.fits("numbers", {}, count=21, shape=(3,), dtype="float32", gib=gib)
    assert not cache.fits("numbers", {}, count=2**40, shape=(3,), dtype="float32", gib=2**30)
