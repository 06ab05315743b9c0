"""Each format answers as the classifier does, says all that has to be known to use it, or is not written."""

import json
import sys
import zipfile

import keras
import numpy as np
import onnx
import pytest

from pipeline import export
from pipeline.config import ExportConfig
from pipeline.deployment import exports
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.export import RESULT, export_classifier
from pipeline.deployment.exports.formats import FORMATS
from pipeline.deployment.exports.parity import Sample, check_parity, compare, folder_sample
from pipeline.storage.files import read_json, write_json
from pipeline.system.errors import PipelineError
from pipeline.tracking.classifier_files import Calibration, ModelReference, run_of
from tests.support.images import write_images
from tests.support.in_process import call

MARGINS = ExportConfig(name="test", images=64, tolerance=1e-4, int8_agreement=0.98, int8_images=20)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("more") / "colours", per_class=28)


@pytest.fixture
def sample(folder, classifier) -> Sample:
    return folder_sample(folder, classifier.classes, MARGINS)


def test_every_format_answers_like_the_classifier_and_says_what_it_is(classifier, sample, tmp_path):
    classifier = Classifier(classifier.model, ["a, b", "ü", "red"], Calibration(1.5), origin="a test")
    out = tmp_path / "exports"
    found = export_classifier(classifier, FORMATS, sample, margins=MARGINS, folder=out)
    assert {file.name for file in out.iterdir()} == {each.target for each in FORMATS.values()} | {
        "classifier.json",
        RESULT,
    }
    assert list(tmp_path.iterdir()) == [out]
    for name, each in found.items():
        assert each["latency_ms"] > 0
        if name != "keras":
            assert each["images"] == 64
            assert each["same_class"] == 1 or name == "tflite_int8"
    assert read_json(out / RESULT)["formats"] == found
    assert found["tflite_int8"]["size_mib"] < found["tflite"]["size_mib"] / 2

    # Each weight is stored once.
    weights = 4 * sum(weight.size for weight in classifier.model.get_weights())
    [stored] = (out / "saved_model" / "variables").glob("variables.data-*")
    assert weights <= stored.stat().st_size < 1.5 * weights

    description = classifier.description()
    assert description["image_size"] == 32
    assert description["calibration"] == {"temperature": 1.5, "applied": False}
    assert read_json(out / "classifier.json") == description
    assert read_json(out / "saved_model" / "assets.extra" / "classifier.json") == description
    properties = {entry.key: json.loads(entry.value) for entry in onnx.load(out / "model.onnx").metadata_props}
    assert properties == description
    for name in ("model.tflite", "model_int8.tflite"):
        with zipfile.ZipFile(out / name) as members:
            assert members.read("labels.txt").decode().splitlines() == classifier.classes
            assert json.loads(members.read("classifier.json")) == description


def test_an_export_that_answers_otherwise_is_not_written(classifier, sample, tmp_path):
    out = tmp_path / "exports"
    export_classifier(classifier, ["saved_model"], sample, margins=MARGINS, folder=out)
    before = read_json(out / RESULT)
    strict = ExportConfig(name="test", images=64, tolerance=1e-30, int8_agreement=0.98, int8_images=20)
    with pytest.raises(
        PipelineError,
        match=r"tflite: on 64 images the export has a probability that differs by .* more than export.tolerance",
    ):
        export_classifier(classifier, ["saved_model", "tflite"], sample, margins=strict, folder=out)
    # As it was.
    assert read_json(out / RESULT) == before
    assert {file.name for file in out.iterdir()} == {"saved_model", "classifier.json", RESULT}
    with pytest.raises(PipelineError, match="tflite"):
        export_classifier(classifier, ["tflite"], sample, margins=strict, folder=tmp_path / "new")
    assert list(tmp_path.iterdir()) == [out]


def test_the_gate_sees_another_model_and_a_lost_description(classifier, sample, tmp_path):
    kind, out = FORMATS["saved_model"], tmp_path / "exports"
    export_classifier(classifier, ["saved_model"], sample, margins=MARGINS, folder=out)
    exported = kind.implementation()(out / "saved_model")
    another = keras.models.clone_model(classifier.model)
    another.set_weights(classifier.model.get_weights())
    last = another.get_layer("head").layers[-1]
    last.set_weights([np.roll(weight, 1, axis=-1) for weight in last.get_weights()])
    other = Classifier(another, classifier.classes, classifier.calibration, origin="a test")
    with pytest.raises(PipelineError, match=r"a different class than the classifier on 100\.0%"):
        check_parity(kind, exported, other, sample, margins=MARGINS)
    assert check_parity(kind, exported, classifier, sample, margins=MARGINS).accuracy == 1
    description = out / "saved_model" / "assets.extra" / "classifier.json"
    write_json(description, read_json(description) | {"classes": ["green", "blue", "red"]})
    with pytest.raises(PipelineError, match="description of the export has wrong values of classes"):
        check_parity(kind, kind.implementation()(out / "saved_model"), classifier, sample, margins=MARGINS)


def test_agreement_is_counted():
    expected = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
    exported = np.array([[0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]])
    found = compare(expected, exported, np.array([0, 0, -1, 1]))
    assert (found.same_class, found.images) == (0.75, 4)
    assert found.largest_difference == pytest.approx(0.2)
    assert (found.classifier_accuracy, found.accuracy) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert compare(expected, exported, np.full(4, -1)).accuracy is None


def test_images_of_a_folder_are_compared_on_or_learned_from(folder, classifier, sample):
    assert len(sample.files) == 64
    assert not set(sample.files) & set(sample.representative)
    assert [classifier.classes[label] for label in sample.labels] == [file.parent.name for file in sample.files]
    with pytest.raises(PipelineError, match="28 images are too few to compare exports"):
        folder_sample(folder / "red", classifier.classes, MARGINS)


def test_other_folders_are_not_replaced(classifier, sample, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(PipelineError, match="not an earlier export and is not replaced"):
        export_classifier(classifier, ["saved_model"], sample, margins=MARGINS, folder=tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_a_missing_library_is_named_with_what_installs_it(classifier, sample, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "pipeline.deployment.exports.onnx", raising=False)
    # A module that was imported before stays an attribute of its package.
    monkeypatch.delattr(exports, "onnx", raising=False)
    with pytest.raises(PipelineError, match=r'onnx needs onnx, which is not installed; run pip install "\.\[export\]"'):
        export_classifier(classifier, ["onnx"], sample, margins=MARGINS, folder=tmp_path / "exports")
    assert list(tmp_path.iterdir()) == []


def test_the_command(command, trained, folder, tmp_path):
    ran = command(
        "pipeline.export",
        str(trained.file),
        "--format",
        "saved_model,onnx",
        "--images",
        str(folder),
        "export.images=70",
    )
    assert ran.returncode == 0, ran.stderr
    assert "100.0% of 70" in ran.stdout
    assert {file.name for file in (tmp_path / "exports").iterdir()} == {
        "saved_model",
        "model.onnx",
        "classifier.json",
        RESULT,
    }


def test_the_run_of_a_folder_is_its_last_stages(tmp_path):
    reference = ModelReference(tmp_path / "train" / "model.keras", "a test", root=tmp_path, run_id="unused")
    assert run_of(reference) is None
    # As folders were written before there was a stage report.
    write_json(tmp_path / "evaluate" / "run.json", {"run_id": "one", "experiment_key": "0" * 16})
    assert run_of(reference) == "one"
    write_json(tmp_path / "report" / "run.json", {"run_id": "two", "stage_key": "0" * 16, "files": {}})
    assert run_of(reference) == "two"
    assert run_of(ModelReference(tmp_path / "model.keras", "a test", run_id="logged")) == "logged"


def test_a_classifier_that_is_not_there_is_named_before_tensorflow_is_imported(command):
    ran = command("pipeline.export", "no.keras", PYTHONPROFILEIMPORTTIME="1")
    assert ran.returncode == 1
    assert "'no.keras' is not a classifier" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not {"tensorflow", "mlflow"} & {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "onnx,pickle"], "unknown format 'pickle'; expected one or more of saved_model"),
        (["export.images=3"], "export.images: "),
        (["one.keras", "two.keras"], "several classifiers were given: one.keras, two.keras"),
    ],
)
def test_wrong_words_get_a_sentence(arguments, said, capsys):
    status = call(export.main, *arguments)
    assert status
    assert said in f"{status}\n{capsys.readouterr().err}"
