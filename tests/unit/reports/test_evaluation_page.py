"""What the report lists: metrics and confusions."""

import numpy as np

from pipeline.reports.evaluation_page import headline, top_confusions


def test_the_metrics_of_a_phase_are_listed_in_the_tables_order():
    figures = {
        "top5_accuracy": 1.0,
        "ece": 0.1,
        "ece_by_chance": 0.1,
        "accuracy": 0.9,
        "accuracy_low": 0.8,
        "images": 9,
    }
    assert headline(figures) == [
        ("accuracy", "accuracy"),
        ("calibration (ECE)", "ece"),
        ("top-5 accuracy", "top5_accuracy"),
    ]


def test_the_most_frequent_confusions():
    counts = np.array([[3, 1, 2], [0, 4, 0], [0, 0, 0]])
    found = top_confusions(counts, ["a", "b", "c"])
    assert [(each["true"], each["predicted"], each["count"]) for each in found] == [("a", "c", 2), ("a", "b", 1)]
    assert found[0]["fraction"] == 2 / 6
