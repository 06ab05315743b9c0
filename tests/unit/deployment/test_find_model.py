"""Which classifier a command takes, and what it prints of it."""

import argparse

import pytest

from pipeline.deployment.find_model import announce
from pipeline.predict import predict
from pipeline.system.errors import PipelineError
from pipeline.tracking.classifier_files import ModelReference


def test_a_classifier_that_was_not_named_is_announced_with_its_classes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "outputs" / "train" / "model.keras"
    announce(ModelReference(file, str(file)), [str(digit) for digit in range(10)])
    printed = capsys.readouterr()
    assert printed.err == (
        "Classifier: outputs/train/model.keras, with the classes 0, 1, 2, 3, 4 and 5 more. Name another as the first "
        "argument\n"
    )
    assert printed.out == ""


def test_paths_of_which_none_exists_are_an_error_before_a_classifier_is_loaded(tmp_path):
    (tmp_path / "model.keras").touch()
    with pytest.raises(PipelineError, match=r"none\.png: no such file or folder; give files"):
        predict(argparse.Namespace(words=[f"{tmp_path}/model.keras", f"{tmp_path}/none.png"], neighbours=0))
