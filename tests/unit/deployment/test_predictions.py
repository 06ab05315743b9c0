"""Words of the command line expanded to files."""

import io
import os
from pathlib import Path

import pytest

from pipeline.deployment.predictions import PassedOver, expand_paths
from tests.support.images import touch


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        "in/c.webp",
        "in/.hidden/d.png",
        ".e.png",
        "odd[1].png",
        "empty/readme",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        (["b.png", "a.JPG"], ["b.png", "a.JPG"]),
        (["."], ["./a.JPG", "./b.png", "./odd[1].png", "./in/c.webp"]),
        (["in", "b.png"], ["in/c.webp", "b.png"]),
        (["*.png"], ["b.png", "odd[1].png"]),
        (["**/*.webp"], ["in/c.webp"]),
        # A name that looks like a pattern is a name first.
        (["odd[1].png"], ["odd[1].png"]),
        # What is not a file comes back, for a row with an error; a file that is named counts, whatever its ending.
        (["no.png", "no*.png", "empty", "notes.txt"], ["no.png", "no*.png", "empty", "notes.txt"]),
    ],
)
def test_words_mean_files_in_their_order(here, words, paths):
    assert list(expand_paths(words)) == paths


def test_a_list_on_standard_input_is_read_as_it_comes(here, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("b.png\r\n\nin\nodd[1].png\n"))
    assert list(expand_paths(["a.JPG", "-"])) == ["a.JPG", "b.png", "in/c.webp", "odd[1].png"]


def test_folders_are_searched_as_prepare_does_and_the_rest_is_named(tmp_path):
    """Every ending of images, and linked folders; what is not predicted is counted with its name."""
    names = ["a.tif", "b.TIFF", "c.avif", "d.heic", "e.jp2", "f.pgm", "g.tga"]
    touch(*(tmp_path / "in" / name for name in names), *(tmp_path / "in" / f"{n}.txt" for n in range(7)))
    touch(tmp_path / "in" / "plain", tmp_path / "in" / ".hidden.png", tmp_path / "in" / "__MACOSX" / "a.png")
    touch(tmp_path / "other" / "h.jpg", tmp_path / "other" / "below" / "i.jpg")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    passed_over = PassedOver()
    found = [os.path.relpath(path, tmp_path / "in") for path in expand_paths([str(tmp_path / "in")], passed_over)]
    # `up` leads to the folder `other` too, by a path of its own.
    assert found == [*names, "linked/h.jpg", "linked/below/i.jpg", "up/other/h.jpg", "up/other/below/i.jpg"]
    assert [line.replace(f"{tmp_path}/in/", "") for line in passed_over.lines()] == [
        "1 passed over (ending (none)): plain",
        "7 passed over (ending .txt): 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more",
        "2 passed over (hidden): .hidden.png, __MACOSX",
        "1 passed over (link to a folder that contains it): up/in",
    ]


def test_a_folder_of_links_only(tmp_path):
    touch(tmp_path / "other" / "h.jpg")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "only" / "file.jpg").symlink_to(tmp_path / "other" / "h.jpg")
    (tmp_path / "only" / "broken.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "only" / "broken").symlink_to(tmp_path / "nothing")
    passed_over = PassedOver()
    found = list(expand_paths([str(tmp_path / "only")], passed_over))
    assert [Path(path).name for path in found] == ["broken.jpg", "file.jpg", "h.jpg"]
    assert passed_over.lines() == [f"1 passed over (ending (none)): {tmp_path}/only/broken"]


@pytest.mark.parametrize("word", [".", "**/*.jpg", "**"])
def test_folders_that_are_all_linked_to_each_other_end(tmp_path, monkeypatch, word):
    """There are 12! paths through them."""
    for name in range(12):
        touch(tmp_path / str(name) / "a.jpg")
        for other in range(12):
            (tmp_path / str(name) / f"to-{other}").symlink_to(tmp_path / str(other))
    monkeypatch.chdir(tmp_path)
    passed_over = PassedOver()
    found = list(expand_paths([word], passed_over))
    assert {os.path.normpath(path) for path in found} >= {f"{name}/a.jpg" for name in range(12)}
    assert len(found) == len(set(found)) < 2000
    assert any("a folder that another link leads to" in line for line in passed_over.lines())


@pytest.mark.parametrize(
    ("word", "paths"),
    [
        ("**/*.png", ["b.png", "odd[1].png"]),
        ("**", ["a.JPG", "b.png", "empty/readme", "in/c.webp", "notes.txt", "odd[1].png"]),
        ("**/*", ["a.JPG", "b.png", "empty/readme", "in/c.webp", "notes.txt", "odd[1].png"]),
        ("**/in", ["in/c.webp"]),
        ("i*/**/*.webp", ["in/c.webp"]),
        ("./**/c.*", ["./in/c.webp"]),
        ("**/*.tif", ["**/*.tif"]),
    ],
)
def test_patterns_over_all_folders_give_each_file_once(here, word, paths):
    assert list(expand_paths([word])) == paths


@pytest.mark.parametrize(
    "text", ["\ufeffb.png\r\na.JPG\r\n", "\ufeffb.png\n\n  \n\t\r\na.JPG", "b.png\n\r\n\ufeffa.JPG\n\n"]
)
def test_a_list_may_have_byte_order_marks_and_blank_lines(here, monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert list(expand_paths(["-"])) == ["b.png", "a.JPG"]


def test_a_line_that_is_no_path_gets_a_row(here, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a\0b.png\n\ud800.png\n"))
    assert list(expand_paths(["-"])) == ["a\0b.png", "\ud800.png"]
