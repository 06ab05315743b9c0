"""The last lines of a run."""

import json

import pytest

from pipeline.jobs.ending import result_lines
from pipeline.system.errors import PipelineError


@pytest.fixture
def outputs(tmp_path):
    """The folder of a finished experiment, as far as its result is read."""
    (tmp_path / "evaluate").mkdir()
    phases = {
        phase: {"accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.01, "images": 360}
        for phase, accuracy in (("train", 0.9444), ("finetune", 0.9833))
    }
    (tmp_path / "evaluate" / "metrics.json").write_text(json.dumps({"best": "finetune", **phases}))
    return tmp_path


def test_a_run_ends_with_its_accuracy_and_where_to_read_on(outputs, monkeypatch):
    monkeypatch.chdir(outputs)
    (outputs / "report").mkdir()
    (outputs / "report" / "report.html").touch()
    assert result_lines(outputs, 0.95) == [
        "Test accuracy 0.983, 95 % interval 0.963 to 0.993, 360 images",
        "  model    finetune/model.keras: phase 2, fine-tuning; it is better on validation images",
        "  other    phase 1, feature extraction: test accuracy 0.944",
        "  report   report/report.html",
        "  MLflow   make ui",
    ]


def test_a_report_that_was_not_drawn_is_not_named(outputs):
    assert not any(line.startswith("  report") for line in result_lines(outputs, 0.95))


def test_a_folder_without_a_result_says_what_makes_one(tmp_path):
    with pytest.raises(PipelineError, match="run `dvc repro` or `python -m pipeline`"):
        result_lines(tmp_path, 0.95)
