"""Words of the command line expanded to files."""

import io

import pytest

from pipeline.deployment.predictions import expand_paths


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
