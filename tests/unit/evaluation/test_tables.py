"""Figures and tables against cases worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.evaluation.tables import (
    confusion_table,
    curves,
    gallery_indices,
    per_class,
    predicted_classes_table,
    summarise,
)

LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2]], np.float32
)
EVALUATE = check(composed([])).evaluate


def test_headline_figures():
    figures = summarise(LABELS, PROBABILITIES, EVALUATE, 1)
    assert figures["accuracy"] == 4 / 6
    assert figures["loss"] == pytest.approx(-np.log([0.8, 0.6, 0.2, 0.8, 0.6, 0.2]).mean(), rel=1e-6)
    # Class 0: precision 2/3, recall 2/3; class 1: 2/3, 1; class 2 is never predicted.
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert figures["images"] == 6
    # Three classes leave no guesses to spare for top-5.
    bounded = {"loss", "accuracy", "balanced_accuracy", "macro_f1", "auc", "brier"}
    assert set(figures) == {f"{name}{end}" for name in bounded for end in ("", "_low", "_high")} | {
        "ece",
        "ece_by_chance",
        "images",
    }
    assert all(figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"] for name in bounded)
    assert summarise(LABELS, PROBABILITIES, EVALUATE, 1) == figures


def test_the_wilson_interval():
    # E. B. Wilson's formula for 4 of 6 at 95 %.
    z, p, n = 1.959963984540054, 4 / 6, 6
    centre, half = (p + z**2 / 2 / n) / (1 + z**2 / n), z * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2) / (1 + z**2 / n)
    figures = summarise(LABELS, PROBABILITIES, EVALUATE, 1)
    assert (figures["accuracy_low"], figures["accuracy_high"]) == pytest.approx(
        (centre - half, centre + half), abs=1e-9
    )


def test_precision_and_recall_of_each_class():
    predicted = PROBABILITIES.argmax(axis=1)
    table = per_class(LABELS, predicted, ["a", "b", "c"], 0.95)
    assert table["precision"].tolist() == pytest.approx([2 / 3, 2 / 3, 0])
    assert table["recall"].tolist() == pytest.approx([2 / 3, 1, 0])
    assert table["support"].tolist() == [3, 2, 1]
    low, high = proportion_confint(2, 3, method="wilson")
    assert (table.loc[0, "recall_low"], table.loc[0, "recall_high"]) == pytest.approx((low, high))
    # Never predicted: nothing is known of its precision.
    assert table.loc[2, ["precision_low", "precision_high"]].tolist() == [0, 1]


def test_a_class_without_test_images_does_no_harm():
    assert summarise(LABELS[:5], PROBABILITIES[:5], EVALUATE, 1)["accuracy"] == 0.8
    assert per_class(LABELS[:5], PROBABILITIES[:5].argmax(axis=1), ["a", "b", "c"], 0.95)["support"].tolist() == [
        3,
        2,
        0,
    ]


def test_curves_run_from_corner_to_corner():
    curve = curves(LABELS, PROBABILITIES, 0)
    assert curve[["fpr", "tpr"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert curve[["recall", "precision"]].iloc[-1].tolist() == [0, 1]
    assert len(curve) == 200


def test_the_surest_mistakes_and_the_hits_that_were_nearly_none():
    labels = np.array([0, 0, 1, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.55, 0.45], [0.05, 0.95]])
    for count, mistakes, hits in ((5, [1, 3], [2, 0, 4]), (2, [1, 3], [2, 0]), (1, [1], [2]), (0, [], [])):
        found = gallery_indices(labels, probabilities, count)
        assert {kind: indices.tolist() for kind, indices in found.items()} == {"mistakes": mistakes, "hits": hits}
    assert gallery_indices(labels[:1], probabilities[:1], 3)["mistakes"].tolist() == []


def test_confusions_are_the_pairs_that_occur():
    test = SimpleNamespace(labels=np.repeat([0, 1], [6, 4]), classes=["a", "b", "c"])
    train = SimpleNamespace(predicted=np.repeat([0, 1, 2, 1], [3, 1, 2, 4]))
    table = confusion_table({"train": train, "finetune": SimpleNamespace(predicted=test.labels)}, test)
    assert table["phase"].tolist() == ["train"] * 4 + ["finetune"] * 2
    assert table["count"].tolist() == [3, 1, 2, 4, 6, 4]
    assert table["predicted"].tolist() == ["a", "b", "c", "b", "a", "b"]


def test_the_classes_that_each_phase_predicts():
    test = SimpleNamespace(labels=np.array([0, 1, 1]), classes=["a", "b"])
    train, finetune = (SimpleNamespace(predicted=np.array(predicted)) for predicted in ([0, 0, 1], [1, 1, 1]))
    table = predicted_classes_table({"train": train, "finetune": finetune}, test)
    assert table.to_dict("list") == {"true": ["a", "b", "b"], "train": ["a", "a", "b"], "finetune": ["b", "b", "b"]}
