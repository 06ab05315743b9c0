"""The page to try a classifier on, as a browser sees it, and its answer to what is not an image."""

import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import uvicorn

from pipeline.deployment.classifier import load
from pipeline.deployment.demo import MAX_BYTES, build_page, predict_upload
from pipeline.deployment.find_model import find_model
from pipeline.deployment.neighbours import NeighbourSearch
from pipeline.system.errors import PipelineError


@pytest.fixture
def address(classifier, trained):
    """Of the page, on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = build_page(classifier, [trained.files[0], trained.files[-1]])
    server = uvicorn.Server(uvicorn.Config(page, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_it_answers_with_classes_and_images(address, trained):
    answer = requests.post(f"{address}/answer", data=trained.files[0].read_bytes()).json()
    assert answer["guesses"][0][0] == trained.files[0].parent.name
    assert sum(probability for _, probability in answer["guesses"]) == pytest.approx(1, abs=1e-5)
    assert answer["image"].startswith("data:image/jpeg;base64,")
    assert answer["overlay"].startswith("data:image/jpeg;base64,")
    assert answer["neighbours"] == []
    text = requests.get(address).text
    assert text.count("data-example=") == 2
    assert not re.search(r"https?://", text)
    assert requests.get(f"{address}/examples/1").content == trained.files[-1].read_bytes()
    assert requests.get(f"{address}/examples/2").status_code == 404


def test_what_is_not_an_image_gets_a_sentence(address):
    random = np.random.default_rng(0)
    for data in (b"", b"text", random.bytes(1000)):
        refused = requests.post(f"{address}/answer", data=data)
        assert refused.status_code == 400
        assert refused.json()["error"].startswith("The file can't be used: ")
    assert requests.post(f"{address}/answer", data=b"\0" * (MAX_BYTES + 1)).status_code == 413


def test_an_example_that_is_not_an_image_is_named(classifier, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    for name, why in (("text.jpg", "not an image in a known format"), ("none.png", "No such file")):
        with pytest.raises(PipelineError, match=f"--examples: .*{name} can't be used: .*{why}"):
            build_page(classifier, [tmp_path / name])


def test_the_most_similar_training_images_are_beside_the_answer(experiment):
    folder = Path(experiment.config.dataset.path)
    reference = find_model(str(experiment.root), experiment.config)
    nearest = NeighbourSearch.of_classifier(reference.file, experiment.config, experiment.root / "prepare", 2)
    manifest = pd.read_parquet(experiment.root / "prepare" / "manifest.parquet")
    row = manifest[manifest["split"] == "train"].iloc[0]
    answer = predict_upload(load(reference), (folder / row["path"]).read_bytes(), nearest)
    assert [len(each) for each in answer["neighbours"]] == [3, 3]
    label, path, uri = answer["neighbours"][0]
    assert (label, path) == (row["label"], str(folder / row["path"]))
    assert uri.startswith("data:image/jpeg;base64,")


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_a_browser_shows_the_answer(address, trained, tmp_path):
    seen = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--timeout=8000", "--virtual-time-budget=8000",
         "--dump-dom", f"{address}/#0"],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    bars = re.findall(r'<div class="bar"><span>(\w+)</span>.*?<b>([\d.]+) %</b>', seen)
    assert len(bars) == 3
    assert bars[0][0] == trained.files[0].parent.name == re.search(r'<b id="ahead">(\w+)</b>', seen)[1]
    assert '<div id="answer" class="row">' in seen
    assert seen.count('src="data:image/jpeg') == 4
