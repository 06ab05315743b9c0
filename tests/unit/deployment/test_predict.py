"""`python -m pipeline.predict`: its rows are what the classifier predicts, and nothing that can't be read stops it."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline import predict as command_module
from pipeline.config.compose import configuration
from pipeline.config.image import Decoding
from pipeline.deployment.classifier import load
from pipeline.deployment.find_model import find_model
from pipeline.deployment.prediction_rows import table_rows
from pipeline.deployment.predictions import Unreadable, predict
from pipeline.inputs.decoding import pixels
from pipeline.storage.files import write_json
from pipeline.training.temperature import at_temperature
from tests.support.in_process import call


@pytest.fixture
def mixed(tmp_path, trained):
    """A folder of images and of what only looks like them."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, file in enumerate(trained.files[::6]):
        (folder / f"{number:02}.png").write_bytes(file.read_bytes())
    (folder / "03-cut.png").write_bytes(trained.files[0].read_bytes()[:200])
    (folder / "04-text.jpg").write_text("no image")
    (folder / "05-empty.png").touch()
    os.mkfifo(folder / "06-pipe.png")
    return folder


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_are_in_order_and_hold_what_the_classifier_predicts(command, trained, classifier, mixed, tmp_path):
    ran = command(
        "pipeline.predict", str(trained.file), str(mixed), "no.png", "--batch-size", "4",
        "--html", "seen/gallery.html", "--gradcam", "maps", "--top", "2",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "path,class,probability,error,calibrated,class_2,probability_2"
    rows = rows_of(ran.stdout)
    assert [row["path"] for row in rows] == [*(str(file) for file in sorted(mixed.iterdir())), "no.png"]
    failed = {os.path.basename(row["path"]): row["error"] for row in rows if row["error"]}  # noqa: PTH119
    assert failed["04-text.jpg"] == "not an image in a known format"
    assert failed["05-empty.png"] == "empty file"
    assert failed["06-pipe.png"] == "not a regular file"
    assert failed["no.png"] == "No such file or directory"
    assert "damaged" in failed["03-cut.png"]
    assert len(failed) == 5
    assert "5 files could not be read" in ran.stderr
    for row in rows:
        if row["error"]:
            assert row["class"] == row["probability"] == ""
            continue
        with open(row["path"], "rb") as file:
            own = classifier.model(pixels(file.read(), Decoding(32))[np.newaxis]).numpy()[0]
        assert row["class"] == classifier.classes[own.argmax()]
        assert float(row["probability"]) == pytest.approx(own.max(), abs=2e-6)
        assert float(row["probability_2"]) == pytest.approx(np.sort(own)[-2], abs=2e-6)
        assert row["calibrated"] == ""
    page = (tmp_path / "seen" / "gallery.html").read_text()
    assert page.count("data:image/jpeg") == 2 * 10
    assert "http" not in page
    maps = sorted((tmp_path / "maps").iterdir())
    assert [file.name for file in maps[:4]] == ["000001-00.png", "000002-01.png", "000003-02.png", "000005-03.png"]
    with Image.open(maps[0]) as drawn:
        assert drawn.size == (32, 32)
    assert len(maps) == 10


def test_a_list_on_standard_input_as_json_lines_to_a_file(command, trained, tmp_path):
    asked = [str(file) for file in trained.files[:3]]
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.predict", str(trained.file), "-", "--format", "jsonl", "--out", "rows.jsonl", "--top", "9"],
        input="\n".join([*asked, "none.png"]), cwd=tmp_path, env=command.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [*asked, "none.png"]
    assert rows[0]["top"][0]["class"] == rows[0]["class"] == trained.files[0].parent.name
    assert sum(each["probability"] for each in rows[0]["top"]) == pytest.approx(1, abs=1e-5)
    assert rows[3] == {"path": "none.png", "class": None, "probability": None, "error": "No such file or directory"}


def test_awkward_names_stop_nothing_and_come_out_as_they_are(command, trained, tmp_path):
    data = trained.files[0].read_bytes()
    (tmp_path / "in").mkdir()
    names = [b"cr\rname.png", b"new\nline.png", b'com,ma "quoted".png', b"=1+1.png", b"[red]x.png", b"not-utf8-\xff.png", b"l" * 251 + b".png"]  # fmt: skip
    paths = sorted(b"in/" + name for name in names)
    for path in paths:
        (tmp_path / os.fsdecode(path)).write_bytes(data)
    asked = [sys.executable, "-m", "pipeline.predict", str(trained.file), "in", "--html", "page.html", "--gradcam", "maps"]  # fmt: skip
    ran = subprocess.run(asked, cwd=tmp_path, env=command.environment, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    text = ran.stdout.decode(errors="surrogateescape")
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert [os.fsencode(row[0]) for row in rows] == paths
    assert {row[1] for row in rows} == {trained.files[0].parent.name}
    assert b"\r\n" not in ran.stdout
    assert len(list((tmp_path / "maps").iterdir())) == len(names)
    assert "not-utf8-?.png" in (tmp_path / "page.html").read_text()


def test_a_line_at_a_time_is_answered_at_once_and_an_interruption_is_no_traceback(command, trained):
    """Also where the locale would not take the name."""
    environment = command.environment | {"PYTHONIOENCODING": "utf-8:strict"}
    asked = [sys.executable, "-m", "pipeline.predict", str(trained.file), "-", "--batch-size", "1"]
    with subprocess.Popen(
        asked, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for path in (str(trained.files[0]).encode(), b"none-\xff.png"):
            process.stdin.write(path + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if line.startswith(b"path,"):
                line = process.stdout.readline()
            assert line.startswith(path + b",")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith(b"Interrupted\n")
    assert b"Traceback" not in said


def test_a_table_for_a_file_keeps_whole_paths(classifier, tmp_path):
    path = "in/" + "long" * 60 + ".png"
    stream = io.StringIO()
    with table_rows(stream, classifier.classes, 1) as add:
        add([Unreadable(path, "no [bold]image")])
    assert "no [bold]image" in stream.getvalue()
    assert path in re.sub(r"\s|no \[bold\]image", "", stream.getvalue())


@pytest.mark.parametrize("applied", [True, False])
def test_the_temperature_that_evaluate_found_is_used(trained, applied, tmp_path, monkeypatch):
    """Of a folder of stages: in the probabilities where it is applied, beside them where it is not."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "model.keras").write_bytes(trained.file.read_bytes())
    write_json(tmp_path / "evaluate" / "metrics.json", {"best": "train"})
    write_json(tmp_path / "evaluate" / "calibration.json", {"applied": applied, "train": 2.5, "finetune": 1.0})
    plain = load(find_model(str(trained.file), configuration()))
    [[expected]] = predict([str(trained.files[0])], plain, 8)
    assert expected.calibrated is None
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path, tmp_path / "train", "train/model.keras"):
        [[found]] = predict([str(trained.files[0])], load(find_model(str(name), configuration())), 8)
        temperature_in_weights = at_temperature(expected.probabilities[np.newaxis], 2.5)[0]
        np.testing.assert_allclose(found.calibrated, temperature_in_weights, atol=1e-6)
        np.testing.assert_allclose(
            found.probabilities, temperature_in_weights if applied else expected.probabilities, atol=1e-6
        )


def test_a_classifier_that_is_not_there_is_named_before_tensorflow_is_imported(command):
    ran = command("pipeline.predict", "no.keras", "a.png", PYTHONPROFILEIMPORTTIME="1")
    assert ran.returncode == 1
    assert "'no.keras' is not a classifier" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not {"tensorflow", "mlflow"} & {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs:/nothing", "a.png"], "has no such model"),
        (["a.png", "--top", "0"], "expected an integer >= 1"),
        (["a.png", "--top", "many"], "'many'"),
        (["old.h5", "a.png"], "'old.h5' is not a classifier"),
        (["models:/x@champion"], "no images were given"),
    ],
)
def test_wrong_words_get_a_sentence(arguments, said, tmp_path, empty_store, monkeypatch, capsys):
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    status = call(command_module.main, *arguments)
    assert status
    assert said in f"{status}\n{capsys.readouterr().err}"
