"""Charts inside pages: text as text, in the page's colour, and nothing loaded."""

import re

import pandas as pd
from PIL import Image

from pipeline.reports.training_charts import training_curves
from pipeline.visuals.style import INK, as_svg, charting, write_png


def curves():
    history = {"loss": [0.9, 0.4], "accuracy": [0.6, 0.8], "val_loss": [0.8, 0.5], "val_accuracy": [0.6, 0.7]}
    histories = [pd.DataFrame(history | {"epoch": [first, first + 1]}) for first in (1, 3)]
    kept = [{"kept_epoch": epoch, "val_loss": 0.5, "val_accuracy": 0.7} for epoch in (2, 4)]
    return training_curves(histories, kept, other_loss=True)


def test_a_chart_is_an_element_in_the_colour_of_the_page():
    accuracy, loss = curves()
    assert accuracy.svg.startswith("<svg")
    assert INK not in accuracy.svg
    assert "currentColor" in accuracy.svg
    assert ">epoch<" in accuracy.svg
    assert not re.search(r"(?:xlink:)?href=\"(?!#|data:)", accuracy.svg)
    assert "not comparable" in loss.note
    # The page sets the width.
    assert "pt" not in loss.svg.split(">")[0].split("viewBox")[0]


def test_a_phase_without_epochs_is_explained():
    row = {"loss": [0.9], "accuracy": [0.6], "val_loss": [0.8], "val_accuracy": [0.6]}
    kept = {"val_loss": 0.8, "val_accuracy": 0.6}
    figures = [kept | {"kept_epoch": 1, "head": "ridge", "penalty": 300.0}, kept | {"kept_epoch": 2}]
    histories = [pd.DataFrame(row | {"epoch": [epoch]}) for epoch in (1, 2)]
    accuracy, _ = training_curves(histories, figures, other_loss=False)
    assert "by ridge regression with penalty 300, and counts as one epoch" in accuracy.note
    assert "at once" not in curves()[0].note


def test_the_same_figure_twice_is_the_same_element():
    assert curves()[0].svg == curves()[0].svg


def test_files_have_twice_the_resolution_of_a_screen(tmp_path):
    with charting(2, 1) as figure:
        figure.subplots().plot([0, 1])
    write_png(figure, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as image:
        assert image.size == (440, 220)
    assert as_svg(figure).count("<svg") == 1
