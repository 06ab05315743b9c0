"""Tables of the report with as many classes as there are: what people read, with the mistakes first."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix as count

from pipeline.evaluation.tables import per_class
from pipeline.reports.evaluation_tables import class_table, confusion_matrix, corruption_table, top_confusions


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (10, 10), (100, 20), (1000, 20)])
def test_classes_as_many_as_people_read(classes, shown):
    labels = np.arange(classes).repeat(3)
    predicted = labels.copy()
    # The last two classes are confused.
    predicted[-1] = classes - 2
    names = [f"class {number}" for number in range(classes)]
    matrix = confusion_matrix(count(labels, predicted), names)
    assert len(matrix["classes"]) == len(matrix["rows"]) == shown
    assert matrix["left_out"] == classes - shown
    assert matrix["classes"][-2:] == names[-2:]
    mistake = matrix["rows"][-1][-2]
    assert (mistake["count"], mistake["strength"], mistake["right"]) == (1, 1.0, False)
    assert sum(cell["strength"] > 0 for row in matrix["rows"] for cell in row) == 1
    table = class_table(per_class(labels, predicted, names, 0.95))
    assert {row["class"] for row in table["rows"][:2]} == set(names[-2:])
    assert len(table["rows"]) == min(40, classes)


def test_names_of_columns_are_upright_where_they_fit():
    counts = np.ones((10, 10), int)
    assert not confusion_matrix(counts, list("0123456789"))["turned"]
    assert confusion_matrix(counts, [f"name {number}" for number in range(10)])["turned"]
    assert not confusion_matrix(counts[:2, :2], ["cats", "dogs"])["turned"]


def test_the_most_frequent_confusions():
    counts = np.array([[3, 1, 2], [0, 4, 0], [0, 0, 0]])
    found = top_confusions(counts, ["a", "b", "c"])
    assert [(each["true"], each["predicted"], each["count"]) for each in found] == [("a", "c", 2), ("a", "b", 1)]
    assert found[0]["fraction"] == 2 / 6


def test_the_most_harmful_corruption_comes_first():
    rows = [("blur", 1, 0.9), ("blur", 2, 0.8), ("gaussian_noise", 1, 0.5), ("gaussian_noise", 2, 0.0)]
    table = pd.DataFrame(rows, columns=["corruption", "severity", "accuracy"])
    table = table.assign(accuracy_low=table["accuracy"] - 0.1, accuracy_high=table["accuracy"] + 0.1)
    found = corruption_table(table, clean=1.0)
    assert [row["name"] for row in found["rows"]] == ["gaussian noise", "blur"]
    assert [cell["strength"] for cell in found["rows"][0]["cells"]] == [0.5, 1.0]
    assert found["reach"] == pytest.approx(0.1)
    assert corruption_table(table.head(0), clean=1.0) is None
