"""Metrics that are charted, and the table of all of them."""

from math import isnan, nan

from pipeline.tracking.metric_names import as_table, charted, epoch_metrics, read_table, stage_metrics


def test_the_headline_is_charted_and_the_rest_is_in_the_table(tmp_path):
    phase = {"accuracy": 0.1 + 0.2, "accuracy_low": 1 / 3, "brier": 1e-17, "top5_accuracy": nan, "calibration": {"temperature": 2}}  # fmt: skip
    figures = {"best": "finetune", "train": phase, "finetune": phase, "comparison": {"mcnemar_p": 0.5, "accuracy_difference": 0.1}}  # fmt: skip
    every = stage_metrics("evaluate", figures)
    assert set(charted(every)) == {
        "test/accuracy", "test/accuracy_low", "test/top5_accuracy", "test/train/accuracy", "test/finetune/accuracy", "test/comparison/accuracy_difference",
    }  # fmt: skip
    file = tmp_path / "metrics.csv"
    file.write_text(as_table(every))
    read = read_table(file)
    assert list(read) == list(every)
    assert all(read[name] == value or (isnan(read[name]) and isnan(value)) for name, value in every.items())


def test_learning_curves_have_one_prefix():
    row = {"epoch": 7, "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.4}
    found = {(metric.key, metric.value, metric.step) for metric in epoch_metrics(row)}
    assert found == {(f"training/{name}", value, 7) for name, value in row.items() if name != "epoch"}
