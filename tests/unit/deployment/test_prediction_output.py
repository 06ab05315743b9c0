"""Lists of paths in the encodings of PowerShell and other shells."""

import io

import pytest

from pipeline.deployment.prediction_output import _set_encoding
from pipeline.deployment.predictions import expand_paths


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_may_have_the_mark_of_its_encoding(monkeypatch, encoding):
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    data = f"{mark}photos/ä.jpg\r\n\r\nb.png\r\n".encode(encoding)
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)), encoding="ascii")
    _set_encoding(stream)
    monkeypatch.setattr("sys.stdin", stream)
    assert list(expand_paths(["-"])) == ["photos/ä.jpg", "b.png"]


def test_bytes_of_the_file_system_stay_as_they_are(monkeypatch):
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"a-\xff.png\n")), encoding="ascii")
    _set_encoding(stream)
    monkeypatch.setattr("sys.stdin", stream)
    assert list(expand_paths(["-"])) == ["a-\udcff.png"]
