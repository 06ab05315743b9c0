"""Tables of the report: the classes that need attention, their confusions, and accuracy under corruptions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.storage.files import Json
from pipeline.visuals.pages import scale

_MAX_CONFUSIONS = 10
_MAX_MATRIX, _MAX_ROWS = 20, 40
# Longest names of columns that fit upright, if there are at most six columns, and if there are more.
_FEW, _LETTERS_OF_FEW, _LETTERS = 6, 14, 3


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Json:
    """Return the confusion matrix of at most 20 classes, those with the most mistakes, for the template.

    Args:
        counts: Confusion matrix, int [classes, classes]; rows are the true classes.
        classes: Class names.

    Returns:
        Dictionary with `classes`, `rows` of cells, and the number of classes `left_out`. A cell has its count, its
        fraction of the true class, and the strength of the mistake from 0 to 1. `turned` is true if names of columns
        do not fit upright.
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    mistakes = wrong.sum(axis=0) + wrong.sum(axis=1)
    worst = np.sort(np.argsort(-mistakes, kind="stable")[:_MAX_MATRIX])
    totals = np.maximum(counts.sum(axis=1), 1)
    strongest = max(1e-9, (wrong / totals[:, None]).max())
    rows = [
        [
            {
                "count": int(counts[row, column]),
                "percent": counts[row, column] / totals[row],
                # The square root, so that a single mistake can be seen next to many.
                "strength": 0.0 if row == column else float(np.sqrt(wrong[row, column] / totals[row] / strongest)),
                "right": row == column,
            }
            for column in worst
        ]
        for row in worst
    ]
    names = [classes[each] for each in worst]
    turned = max(map(len, names)) > (_LETTERS_OF_FEW if len(names) <= _FEW else _LETTERS)
    return {"classes": names, "rows": rows, "turned": turned, "left_out": len(classes) - len(names)}


def top_confusions(counts: np.ndarray, classes: list[str]) -> list[Json]:
    """List the most frequent mistakes in a confusion matrix, int [classes, classes].

    Returns:
        Dictionaries with the keys true, predicted, count and fraction (of the images of the true class).
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    return [
        {"true": classes[row], "predicted": classes[column], "count": int(count), "fraction": count / counts[row].sum()}
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if (count := wrong[row, column])
    ]


def class_table(table: pd.DataFrame) -> Json:
    """Return the (up to 40) classes with the lowest F1, with precision and recall, for the template.

    Args:
        table: Table returned by `pipeline.evaluation.tables.per_class`.

    Returns:
        Dictionary with `rows`, the `ends` of the axis, and the number of classes `left_out`.
    """
    shown = table.sort_values("f1", kind="stable").head(_MAX_ROWS)
    lows = shown[shown["support"] > 0][["precision_low", "recall_low"]].to_numpy()
    ends = scale(float(lows.min()) if lows.size else 0.0, 1)
    return {"rows": shown.to_dict("records"), "ends": ends, "left_out": len(table) - len(shown)}


def corruption_table(table: pd.DataFrame, clean: float) -> Json | None:
    """Return accuracy by corruption and severity for the template, the most harmful corruption first; None if empty.

    Args:
        table: Table returned by `pipeline.evaluation.corruptions.accuracy_under_corruptions`.
        clean: Accuracy on the same images without corruption.
    """
    if table.empty:
        return None
    by_severity = table.pivot(index="corruption", columns="severity", values="accuracy")
    by_severity = by_severity.loc[by_severity.mean(axis=1).sort_values(kind="stable").index]
    rows = [
        {
            "name": str(name).replace("_", " "),
            "mean": values.mean(),
            "cells": [
                {"accuracy": value, "strength": float(np.clip((clean - value) / clean, 0, 1))} for value in values
            ],
        }
        for name, values in by_severity.iterrows()
    ]
    reach = (table["accuracy_high"] - table["accuracy_low"]).max() / 2
    return {"severities": list(by_severity.columns), "rows": rows, "reach": reach}
