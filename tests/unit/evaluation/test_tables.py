"""Tables of an evaluation: confusions, and the choice of the images of the gallery."""

from types import SimpleNamespace

import numpy as np

from pipeline.evaluation.tables import confusion_table, least_confident_hits, most_confident_mistakes

LABELS = np.array([0, 0, 1, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.55, 0.45], [0.05, 0.95]])


def test_the_surest_mistakes_and_the_hits_that_were_nearly_none():
    assert most_confident_mistakes(LABELS, PROBABILITIES, 5).tolist() == [1, 3]
    assert most_confident_mistakes(LABELS, PROBABILITIES, 1).tolist() == [1]
    assert least_confident_hits(LABELS, PROBABILITIES, 2).tolist() == [2, 0]
    assert least_confident_hits(LABELS, PROBABILITIES, 0).tolist() == []
    assert most_confident_mistakes(LABELS[:1], PROBABILITIES[:1], 3).tolist() == []


def test_confusions_are_the_pairs_that_occur():
    test = SimpleNamespace(labels=np.repeat([0, 1], [6, 4]), classes=["a", "b", "c"])
    train = SimpleNamespace(predicted=np.repeat([0, 1, 2, 1], [3, 1, 2, 4]))
    table = confusion_table({"train": train, "finetune": SimpleNamespace(predicted=test.labels)}, test)
    assert table["phase"].tolist() == ["train"] * 4 + ["finetune"] * 2
    assert table["count"].tolist() == [3, 1, 2, 4, 6, 4]
    assert table["predicted"].tolist() == ["a", "b", "c", "b", "a", "b"]
