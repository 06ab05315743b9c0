"""Charts inside pages: text as text, in the page's colour, nothing loaded; with as many classes as there are."""

import re

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from pipeline.evaluation.tables import per_class
from pipeline.reports.evaluation_charts import confusion_chart, per_class_chart
from pipeline.visuals.style import INK, as_svg, write_png


@pytest.mark.parametrize("count", [2, 40, 200])
def test_classes_as_many_as_there_are(count, tmp_path):
    classes = [f"<class> & ${number}$" for number in range(count)]
    labels = np.arange(count).repeat(3)
    predicted = np.where(np.arange(len(labels)) % 3 == 0, (labels + 1) % count, labels)
    counts, table = confusion_matrix(labels, predicted), per_class(labels, predicted, classes, 0.95)
    for name, figure in (("confusion", confusion_chart(counts, classes, "Test")), ("bars", per_class_chart(table, "Test"))):  # fmt: skip
        svg = as_svg(figure)
        assert svg.startswith("<svg")
        assert INK not in svg
        assert "currentColor" in svg
        assert not re.search(r"(?:xlink:)?href=\"(?!#|data:)", svg)
        assert ("&lt;class&gt; &amp; $1$" in svg) == (name == "bars" or count <= 150)
        assert len(svg) < 2_000_000
        write_png(figure, tmp_path / f"{name}.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_the_same_figure_twice_is_the_same_element():
    classes, counts = ["a", "b"], np.array([[3, 1], [0, 4]])
    assert as_svg(confusion_chart(counts, classes, "T")) == as_svg(confusion_chart(counts, classes, "T"))
