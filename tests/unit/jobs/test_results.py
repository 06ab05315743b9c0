"""Results of stages shared through the cache folder."""

import os
import threading
import time
from hashlib import sha256
from pathlib import Path

from pipeline.jobs.results import SharedResults
from pipeline.storage.files import read_json, write_json


def result(folder: Path, text: str = "figures") -> Path:
    """A stage's folder with one file in a sub-folder, as its run.json describes it."""
    (folder / "plots").mkdir(parents=True)
    (folder / "plots" / "a.csv").write_text(text)
    entry = {"bytes": len(text), "sha256": sha256(text.encode()).hexdigest()}
    write_json(folder / "run.json", {"stage_key": "k", "files": {"plots/a.csv": entry}})
    return folder


def test_a_result_is_taken_by_whoever_needs_it(tmp_path):
    shared = SharedResults(tmp_path / "cache")
    assert not shared.take("train", "k", tmp_path / "b" / "train")
    shared.add("train", "k", result(tmp_path / "a" / "train"))
    assert shared.take("train", "k", tmp_path / "b" / "train")
    assert (tmp_path / "b" / "train" / "plots" / "a.csv").read_text() == "figures"
    assert not shared.take("train", "another", tmp_path / "b" / "train")


def test_an_edit_in_one_place_changes_no_other(tmp_path):
    shared = SharedResults(tmp_path / "cache")
    shared.add("train", "k", result(tmp_path / "a" / "train"))
    shared.take("train", "k", tmp_path / "b" / "train")
    (tmp_path / "b" / "train" / "plots" / "a.csv").write_text("edited")
    (tmp_path / "a" / "train" / "plots" / "a.csv").write_text("edited")
    assert shared.take("train", "k", tmp_path / "c" / "train")
    assert (tmp_path / "c" / "train" / "plots" / "a.csv").read_text() == "figures"


def test_a_damaged_result_is_not_taken(tmp_path):
    shared = SharedResults(tmp_path / "cache")
    shared.add("train", "k", result(tmp_path / "a" / "train"))
    # As long as before: its size does not give it away.
    (tmp_path / "cache" / "stages" / "train-k" / "plots" / "a.csv").write_text("figurez")
    assert not shared.take("train", "k", tmp_path / "b" / "train")
    assert not (tmp_path / "b" / "train").exists()


def test_a_result_whose_description_is_damaged_is_not_taken(tmp_path):
    shared = SharedResults(tmp_path / "cache")
    shared.add("train", "k", result(tmp_path / "a" / "train"))
    (tmp_path / "cache" / "stages" / "train-k" / "run.json").write_text("{")
    assert not shared.take("train", "k", tmp_path / "b" / "train")


def test_of_two_that_need_the_same_result_one_waits(tmp_path):
    order, shared = [], SharedResults(tmp_path / "cache")
    holding = threading.Event()

    def first():
        with shared.alone_with("train", "k"):
            holding.set()
            time.sleep(0.3)
            order.append("first")

    def second():
        holding.wait()
        with SharedResults(tmp_path / "cache").alone_with("train", "k"):
            order.append("second")

    threads = [threading.Thread(target=each) for each in (first, second)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert order == ["first", "second"]


def test_results_are_listed_with_their_last_use_and_their_maker(tmp_path):
    shared = SharedResults(tmp_path / "cache")
    assert shared.listing() == []
    shared.add("train", "k", result(tmp_path / "a" / "train"))
    file = tmp_path / "cache" / "stages" / "train-k" / "run.json"
    write_json(file, read_json(file) | {"made_by": "vgg16 flowers"})
    os.utime(file, (1, 1))
    [listed] = shared.listing()
    assert listed.holds == {"kind": "result", "stage": "train", "made_by": "vgg16 flowers"}
    assert listed.used == 1
    assert shared.take("train", "k", tmp_path / "b" / "train")
    assert shared.listing()[0].used > 1


def test_a_result_that_is_being_computed_or_taken_stays(tmp_path):
    shared = SharedResults(tmp_path / "cache")
    shared.add("train", "k", result(tmp_path / "a" / "train"))
    with shared.alone_with("train", "k"):
        assert not shared.listing()[0].remove()
    assert shared.listing()[0].remove()
    assert shared.listing() == []
