"""A classifier comes back from its file as it was, with the names of its classes."""

import json
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.models.classifier import BACKBONE, HEAD, POOLING, PREPROCESSING
from pipeline.models.saving import load_classifier, save_classifier
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE
from tests.support.backbones import small, small_classifier


@pytest.mark.parametrize(
    "overrides", [["backbone=vgg16"], ["backbone=densenet121"], ["train.hidden_units=5", "train.l2=0.1"]]
)
def test_it_comes_back_as_it_was(tmp_path, overrides):
    model = small_classifier(check(composed(["backbone.weights=random", "image_size=32", *overrides])))
    save_classifier(model, ["a", "b", "ü"], tmp_path / "model.keras")
    loaded, classes = load_classifier(tmp_path / "model.keras")
    assert classes == ["a", "b", "ü"]
    assert [layer.name for layer in loaded.layers] == ["image", PREPROCESSING, BACKBONE, POOLING, HEAD]
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(loaded(images), model(images))
    assert not any(
        isinstance(layer, keras.layers.Lambda) for part in loaded.layers for layer in getattr(part, "layers", [part])
    )
    # Plain Keras reads it as well.
    assert np.array_equal(keras.saving.load_model(tmp_path / "model.keras")(images), model(images))
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


_WRITE = """
import sys
from pathlib import Path
import pipeline
import keras
from pipeline.models.saving import save_classifier
from tests.support.backbones import small, small_classifier

keras.utils.set_random_seed(1)
save_classifier(small_classifier(small(sys.argv[1])), ["a", "b", "c"], Path(sys.argv[2]))
"""


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_the_same_weights_are_the_same_bytes_in_every_process(tmp_path, backbone):
    files = [tmp_path / "one.keras", tmp_path / "other.keras"]
    for file in files:
        subprocess.run([sys.executable, "-c", _WRITE, backbone, file], cwd=CODE, check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
    # And when it is loaded and saved again.
    save_classifier(*load_classifier(files[0]), files[1])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_other_files_are_refused(tmp_path):
    keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(PipelineError, match=r"has no classes\.json"):
        load_classifier(tmp_path / "other.keras")
    (tmp_path / "text.keras").write_bytes(b"no archive")
    with pytest.raises(PipelineError, match="not a classifier of this pipeline"):
        load_classifier(tmp_path / "text.keras")


def test_a_file_cut_in_half_is_named(tmp_path):
    file = tmp_path / "model.keras"
    save_classifier(small_classifier(small("scratch_cnn")), ["a", "b", "c"], file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(PipelineError, match=r"model.keras .* is truncated .*; copy it again"):
        load_classifier(file)


def _save(model, file):
    save_classifier(keras.Sequential([keras.layers.Input((4,)), *model]), ["a", "b"], file)
    return file


def _described(file, layer):
    """A classifier whose file says of its last layer what `layer` does."""
    _save([keras.layers.Dense(2)], file.with_name("plain.keras"))
    with zipfile.ZipFile(file.with_name("plain.keras")) as plain, zipfile.ZipFile(file, "w") as made:
        for name in plain.namelist():
            data = plain.read(name)
            if name == "config.json":
                model = json.loads(data)
                model["config"]["layers"][-1] |= layer
                data = json.dumps(model).encode()
            made.writestr(name, data)
    return file


def _touching(ran: str) -> keras.layers.Layer:
    return keras.layers.Lambda(lambda x: (open(ran, "w").close(), x)[1])


def _lambda(file, ran):
    return _save([keras.layers.Dense(2), _touching(str(ran))], file)


def _call(file, ran):
    called = {"module": "os", "class_name": "system", "config": {"command": f"touch {ran}"}, "registered_name": None}
    return _described(file, called)


def _end_of_safe_mode(file, ran):
    function = {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}
    return _described(file, {"config": {"units": 2, "activation": function | {"registered_name": None}}})


def _file_of_this_machine(file, ran):
    return _described(file, {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}})


def _more_than_memory(file, ran):
    return _described(file, {"config": {"units": 10**15}})


class _Touch:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def _pickle(file, ran):
    file.write_bytes(pickle.dumps(_Touch(ran)))
    return file


def _pickled_weights(file, ran):
    whole = _save([keras.layers.Dense(2)], file.with_name("whole.keras"))
    np.savez(file.with_name("weights.npz"), **{"layers/dense/vars/0": np.array([_Touch(ran)], dtype=object)})
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(file, "w") as made:
        for name in set(source.namelist()) - {"model.weights.h5"}:
            made.writestr(name, source.read(name))
        made.write(file.with_name("weights.npz"), "model.weights.npz")
    return file


def _older_format(file, ran):
    """HDF5 that is an archive with classes as well."""
    older = file.with_suffix(".h5")
    keras.Sequential([keras.layers.Input((4,)), _touching(str(ran))]).save(older)
    with zipfile.ZipFile(older, "a") as members:
        members.writestr("classes.json", '["a", "b", "c", "d"]')
    return older


@pytest.mark.parametrize(
    "made",
    [_lambda, _call, _end_of_safe_mode, _file_of_this_machine, _more_than_memory, _pickle, _pickled_weights, _older_format],
)  # fmt: skip
def test_a_file_from_elsewhere_runs_nothing(tmp_path, made):
    ran = tmp_path / "ran"
    file = made(tmp_path / "elsewhere.keras", ran)
    ran.unlink(missing_ok=True)
    with pytest.raises(PipelineError, match=re.escape(str(file))) as refused:
        load_classifier(file)
    assert not ran.exists()
    assert len(str(refused.value)) < 600


@pytest.mark.filterwarnings("ignore:Skipping invalid path")
def test_nothing_is_written_beside_it(tmp_path):
    file = _save([keras.layers.Dense(2)], tmp_path / "in" / "model.keras")
    with zipfile.ZipFile(file, "a") as members:
        members.writestr("../escaped", "")
        members.writestr(f"{tmp_path}/escaped", "")
        members.writestr("assets/../../escaped", "")
    load_classifier(file)
    assert [each.name for each in tmp_path.rglob("*")] == ["in", "model.keras"]


def test_classes_and_outputs_are_as_many(tmp_path):
    save_classifier(keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)]), ["a"], tmp_path / "m.keras")
    with pytest.raises(PipelineError, match="names 1 classes"):
        load_classifier(tmp_path / "m.keras")
