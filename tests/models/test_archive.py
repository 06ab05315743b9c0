"""A classifier comes back from its file as it was, with the names of its classes."""

import zipfile

import keras
import numpy as np
import pytest

from pipeline.composition import composed
from pipeline.errors import PipelineError
from pipeline.models.archive import load_classifier, save_classifier
from pipeline.models.assembly import build_classifier
from pipeline.validation import check


@pytest.mark.parametrize(
    "overrides", [["backbone=vgg16"], ["backbone=densenet121"], ["train.hidden_units=5", "train.l2=0.1"]]
)
def test_it_comes_back_as_it_was(tmp_path, overrides):
    model = build_classifier(check(composed(["backbone.weights=random", "image_size=32", *overrides])), 3)
    save_classifier(model, ["a", "b", "ü"], tmp_path / "model.keras")
    loaded, classes = load_classifier(tmp_path / "model.keras")
    assert classes == ["a", "b", "ü"]
    assert [layer.name for layer in loaded.layers] == ["image", "preprocessing", "backbone", "pooling", "head"]
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(loaded(pictures), model(pictures))
    assert not any(
        isinstance(layer, keras.layers.Lambda) for part in loaded.layers for layer in getattr(part, "layers", [part])
    )
    # Plain Keras reads it as well.
    assert np.array_equal(keras.saving.load_model(tmp_path / "model.keras")(pictures), model(pictures))
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_other_files_are_refused(tmp_path):
    keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(PipelineError, match="names no classes"):
        load_classifier(tmp_path / "other.keras")
    (tmp_path / "text.keras").write_bytes(b"no archive")
    with pytest.raises(PipelineError, match="not a classifier of this pipeline"):
        load_classifier(tmp_path / "text.keras")


def test_a_file_cut_in_half_is_said(tmp_path):
    file = tmp_path / "model.keras"
    save_classifier(
        build_classifier(check(composed(["backbone=scratch_cnn", "image_size=32"])), 3), ["a", "b", "c"], file
    )
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(PipelineError, match=r"model.keras .* was cut short .*; copy it again"):
        load_classifier(file)


def test_code_in_a_model_file_is_not_run(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(tmp_path / "code.keras")
    with zipfile.ZipFile(tmp_path / "code.keras", "a") as members:
        members.writestr("classes.json", "[]")
    with pytest.raises(ValueError, match=r"unsafe|[Ll]ambda"):
        load_classifier(tmp_path / "code.keras")
